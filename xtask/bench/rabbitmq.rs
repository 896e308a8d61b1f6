//! Messages of 256 bytes through a RabbitMQ node on this machine, persistent, with a classic and
//! with a quorum queue.
//!
//! In each round all sides use the same queue, one after the other, on the same runtime and the
//! same version of lapin. The rows are ratios of ours to one of them: of the time that passed, and
//! of the CPU that this process took, which is the client's. A node that takes a core of two is a
//! part of what is measured, for all alike.

mod cost;
mod framework;
mod loops;
mod ours;
mod sides;
mod site;

use self::cost::Cost;
use self::sides::{Side, Work, rounds};
use crate::case::Case;
use crate::peers::{
    ACK_EACH, ACK_MANY, CONFIRM_EACH, CONFIRM_LATER, RUSTSTREAM_HANDLER, RUSTSTREAM_PUBLISHER,
};
use crate::probe::Probe;
use crate::samples::{Sample, Samples};

/// The payload of each message.
const PAYLOAD: [u8; 256] = [7; 256];
/// How many messages a round is, so that fast sides take about half a second.
const MANY: usize = 20_000;
/// How many it is where each waits for its confirm.
const FEW: usize = 1_000;
/// How many deliveries may wait for their acknowledgement, on every side.
const PREFETCH: u16 = 1_000;
/// How many publishes may wait for their confirm, on every side that does not wait for each: as
/// many as ours has unless it is told otherwise.
const WINDOW: usize = 1_000;

/// At 0.95 of the speed of the best loop that we know, for at most 1.2 times its CPU; far ahead of
/// the usual loop, and ahead of another framework.
pub(crate) fn cases() -> Vec<Case> {
    let cases = [
        consuming::<false>(),
        consuming::<true>(),
        publishing::<false>(),
        publishing::<true>(),
        publishing_optional::<false>(),
        publishing_optional::<true>(),
    ];
    cases.into_iter().flatten().collect()
}

fn consuming<const QUORUM: bool>() -> Vec<Case> {
    const fn work<const QUORUM: bool>() -> Work {
        Work::Consume { is_quorum: QUORUM }
    }
    let (name, cpu) = match QUORUM {
        false => ("20,000 read, classic", "20,000 read, classic: client CPU"),
        true => ("20,000 read, quorum", "20,000 read, quorum: client CPU"),
    };
    vec![
        Case::ratio(name, ACK_EACH, 1.0 / 2.5, |probe| {
            time(probe, work::<QUORUM>(), Side::OneByOne)
        }),
        Case::ratio(name, ACK_MANY, 1.0 / 0.95, |probe| time(probe, work::<QUORUM>(), Side::Lapin)),
        Case::ratio(cpu, ACK_MANY, 1.2, |probe| client(probe, work::<QUORUM>(), Side::Lapin)),
        Case::ratio(name, RUSTSTREAM_HANDLER, 1.0, |probe| {
            time(probe, work::<QUORUM>(), Side::Ruststream)
        }),
        Case::ratio(cpu, RUSTSTREAM_HANDLER, 1.0, |probe| {
            client(probe, work::<QUORUM>(), Side::Ruststream)
        }),
    ]
}

fn publishing<const QUORUM: bool>() -> Vec<Case> {
    const fn work<const QUORUM: bool>() -> Work {
        Work::Publish { is_quorum: QUORUM }
    }
    let (name, cpu) = match QUORUM {
        false => ("20,000 written, classic", "20,000 written, classic: client CPU"),
        true => ("20,000 written, quorum", "20,000 written, quorum: client CPU"),
    };
    vec![
        Case::ratio(name, CONFIRM_EACH, 1.0 / 10.0, |probe| {
            time(probe, work::<QUORUM>(), Side::OneByOne)
        }),
        Case::ratio(name, CONFIRM_LATER, 1.0 / 0.95, |probe| {
            time(probe, work::<QUORUM>(), Side::Lapin)
        }),
        Case::ratio(cpu, CONFIRM_LATER, 1.2, |probe| client(probe, work::<QUORUM>(), Side::Lapin)),
        Case::ratio(name, RUSTSTREAM_PUBLISHER, 1.0, |probe| {
            time(probe, work::<QUORUM>(), Side::Ruststream)
        }),
        Case::ratio(cpu, RUSTSTREAM_PUBLISHER, 1.0, |probe| {
            client(probe, work::<QUORUM>(), Side::Ruststream)
        }),
    ]
}

/// What ruststream's publisher does: that no queue takes a message is not told.
fn publishing_optional<const QUORUM: bool>() -> Vec<Case> {
    const fn work<const QUORUM: bool>() -> Work {
        Work::PublishOptional { is_quorum: QUORUM }
    }
    let (name, cpu) = match QUORUM {
        false => ("20,000 optional, classic", "20,000 optional, classic: client CPU"),
        true => ("20,000 optional, quorum", "20,000 optional, quorum: client CPU"),
    };
    vec![
        Case::ratio(name, RUSTSTREAM_PUBLISHER, 1.0, |probe| {
            time(probe, work::<QUORUM>(), Side::Ruststream)
        }),
        Case::ratio(cpu, RUSTSTREAM_PUBLISHER, 1.0, |probe| {
            client(probe, work::<QUORUM>(), Side::Ruststream)
        }),
    ]
}

fn time(probe: &Probe, work: Work, peer: Side) -> Samples {
    probe.timed(|| samples(work, peer, |cost| cost.time))
}

fn client(probe: &Probe, work: Work, peer: Side) -> Samples {
    probe.timed(|| samples(work, peer, |cost| cost.cpu))
}

fn samples(work: Work, peer: Side, part: fn(Cost) -> f64) -> Samples {
    let sample = |cost| Sample { nanoseconds: part(cost), ..Sample::default() };
    let (ours, peer) = rounds(work, peer).map(|(ours, peer)| (sample(ours), sample(peer))).unzip();
    Samples { ours, peer }
}
