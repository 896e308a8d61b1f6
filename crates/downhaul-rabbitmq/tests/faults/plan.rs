//! Which faults a run has, in which order and how bad: all of it follows from a seed.

use std::num::NonZeroU32;
use std::time::Duration;

use downhaul_testkit::proxy::{Cut, Direction};
use fastrand::Rng;

/// Each kind comes once, and so many more of the quick ones.
const MORE: usize = 8;

/// Something that happens to links, to the broker or to consumers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// All links end.
    Cut(Cut),
    /// One ends after so many more bytes, which is nearly always within a frame.
    HalfFrame(Direction, u64),
    /// They fall silent.
    Blackhole(Direction, Duration),
    /// They are slow: all comes so much later.
    Delay(Direction, Duration, Duration),
    /// They are narrow: so many bytes a second.
    Throttle(Direction, NonZeroU32, Duration),
    /// They end, and there are no new ones for a while.
    Refuse(Duration),
    /// The broker's operator closes them.
    Close,
    /// He closes one, counted in the broker's list.
    CloseOne(usize),
    /// The broker answers nothing for a while, and its links stay open.
    Freeze(Duration),
    /// The broker is killed, as in a power cut, and comes back on its data after a while.
    Kill(Duration),
    /// The broker is short of memory for a while.
    Alarm(Duration),
    /// Consumers take nothing for a while.
    Pause(Duration),
    /// One of the consumers that share a queue stops and begins anew.
    Restart(usize),
}

impl Fault {
    /// Its name in a table.
    pub(crate) fn kind(self) -> String {
        let shown = format!("{self:?}");
        shown.split('(').next().unwrap_or_default().to_owned()
    }
}

/// The same for the same seed.
pub(crate) fn plan(rng: &mut Rng) -> Vec<Fault> {
    let mut faults = [links(rng), others(rng)].concat();
    faults.extend((0..MORE).map(|_| quick(rng)));
    rng.shuffle(&mut faults);
    faults
}

fn links(rng: &mut Rng) -> Vec<Fault> {
    vec![
        Fault::Cut(Cut::Finish),
        Fault::Cut(Cut::Reset),
        // Mid-publish and mid-delivery.
        half_frame(rng, Direction::ToUpstream),
        half_frame(rng, Direction::ToClient),
        // The heartbeat is a second: after two the link counts as lost.
        Fault::Blackhole(direction(rng), millis(rng, 200..900)),
        Fault::Blackhole(direction(rng), millis(rng, 2_500..3_500)),
        Fault::Delay(direction(rng), millis(rng, 50..400), millis(rng, 500..1_500)),
        Fault::Throttle(direction(rng), rate(rng), millis(rng, 500..1_500)),
        Fault::Refuse(millis(rng, 200..1_200)),
    ]
}

fn others(rng: &mut Rng) -> Vec<Fault> {
    vec![
        Fault::Close,
        Fault::CloseOne(rng.usize(..100)),
        Fault::Freeze(millis(rng, 200..900)),
        Fault::Freeze(millis(rng, 2_500..3_500)),
        Fault::Kill(millis(rng, 0..2_000)),
        Fault::Alarm(millis(rng, 0..1_500)),
        Fault::Pause(millis(rng, 0..1_000)),
        Fault::Restart(rng.usize(..100)),
    ]
}

fn quick(rng: &mut Rng) -> Fault {
    match rng.u8(..5) {
        0 => Fault::Cut(Cut::Finish),
        1 => Fault::Cut(Cut::Reset),
        2 => half_frame(rng, Direction::ToUpstream),
        3 => half_frame(rng, Direction::ToClient),
        _ => Fault::Restart(rng.usize(..100)),
    }
}

fn half_frame(rng: &mut Rng, direction: Direction) -> Fault {
    Fault::HalfFrame(direction, rng.u64(1..20_000))
}

fn direction(rng: &mut Rng) -> Direction {
    [Direction::ToUpstream, Direction::ToClient, Direction::Both][rng.usize(..3)]
}

fn rate(rng: &mut Rng) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(rng.u32(5_000..50_000))
}

fn millis(rng: &mut Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.u64(range))
}
