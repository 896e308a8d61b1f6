//! Messages through a broker that speaks Kafka's protocol, on this machine.
//!
//! Both sides talk to the same broker, with the same properties where both have them. A broker that
//! takes a core of two is a part of what is measured, for both alike.

mod ours;
mod site;
mod theirs;

use std::time::Duration;

use self::site::Site;
use crate::case::Case;
use crate::peers::{CONCURRENT, FUTURE_PRODUCER, SERIAL, STREAM_CONSUMER};
use crate::probe::Probe;
use crate::samples::Samples;

/// The payload of each message.
static PAYLOAD: [u8; 256] = [7; 256];
/// How many messages a round is, so that it takes about half a second.
const MANY: usize = 50_000;
/// How many it is where each takes its handler some time.
const SLOW: usize = 400;
/// What a handler takes that is slow.
const HANDLING: Duration = Duration::from_millis(5);
/// How many it is of large ones, which are more than a consumer keeps at a time.
const LARGE: usize = 4_000;
static LARGE_PAYLOAD: [u8; 32 * 1024] = [7; 32 * 1024];
/// How many large ones are handled at a time, and what each takes.
const LARGE_CONCURRENCY: u16 = 16;
const LARGE_HANDLING: Duration = Duration::from_millis(2);
const PARTITIONS: u16 = 4;

/// Reading and writing at 0.9 of the speed of who does nothing else. Each of our messages has an
/// id, in a header; theirs have none, but in one row. A handler that waits must not
/// hold up its partition: a twentieth of the time.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::ratio("50,000 messages read", STREAM_CONSUMER, 1.0 / 0.9, |probe| {
            against(probe, ours::read, theirs::read)
        }),
        Case::ratio("4,000 of 32 KiB, 2 ms each", CONCURRENT, 1.0 / 0.9, |probe| {
            against(probe, ours::read_large, theirs::read_large)
        }),
        Case::ratio("50,000 messages written", FUTURE_PRODUCER, 1.0 / 0.9, |probe| {
            against(probe, ours::write, |site| theirs::write(site, false))
        }),
        Case::ratio("the same, theirs with ids, too", FUTURE_PRODUCER, 1.0 / 0.9, |probe| {
            against(probe, ours::write, |site| theirs::write(site, true))
        }),
        Case::ratio("400 by key, 5 ms each", SERIAL, 1.0 / 20.0, |probe| {
            against(probe, ours::by_key, theirs::by_partition)
        }),
    ]
}

fn against(
    probe: &Probe,
    ours: impl Fn(&Site) -> Duration,
    theirs: impl Fn(&Site) -> Duration,
) -> Samples {
    probe.stopwatch(|| ours(Site::get()), || theirs(Site::get()))
}
