//! Which faults a run has, in which order and how bad: all of it follows from a seed.

use std::time::Duration;

use downhaul_testkit::proxy::{Cut, Direction};
use fastrand::Rng;

/// Something that happens to all links, or to the broker.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// They end.
    Cut(Cut),
    /// One ends after so many more bytes, which is nearly always within a frame.
    HalfFrame(Direction, u64),
    /// They fall silent.
    Blackhole(Direction, Duration),
    /// They are slow: all comes so much later.
    Delay(Direction, Duration, Duration),
    /// They end, and there are no new ones for a while.
    Refuse(Duration),
    /// The broker is frozen for a while.
    Freeze(Duration),
    /// The broker is killed, and comes back after a while.
    Kill(Duration),
}

/// The same for the same seed.
pub(crate) fn plan(rng: &mut Rng) -> Vec<Fault> {
    let mut faults = vec![
        Fault::Cut(Cut::Finish),
        Fault::Cut(Cut::Reset),
        half_frame(rng, Direction::ToUpstream),
        half_frame(rng, Direction::ToClient),
        Fault::Blackhole(direction(rng), millis(rng, 200..900)),
        // The session is 3 seconds: after that the membership is gone.
        Fault::Blackhole(direction(rng), millis(rng, 4_000..5_000)),
        Fault::Delay(direction(rng), millis(rng, 50..400), millis(rng, 500..1_500)),
        Fault::Refuse(millis(rng, 200..1_200)),
        Fault::Refuse(millis(rng, 4_000..5_000)),
        Fault::Freeze(millis(rng, 500..1_500)),
    ];
    rng.shuffle(&mut faults);
    faults
}

fn half_frame(rng: &mut Rng, direction: Direction) -> Fault {
    Fault::HalfFrame(direction, rng.u64(1..5_000))
}

fn direction(rng: &mut Rng) -> Direction {
    [Direction::ToUpstream, Direction::ToClient, Direction::Both][rng.usize(..3)]
}

fn millis(rng: &mut Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.u64(range))
}
