//! Round by round: both sides in turn, until there is enough.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::samples::{Sample, Samples};

/// Both odd, so that there is a middle.
const ROUNDS: RangeInclusive<usize> = 5..=1001;

/// Who goes first alternates: the second finds a warmer or a hotter machine.
pub(crate) fn interleave(
    mut goes_on: impl FnMut(usize) -> bool,
    mut ours: impl FnMut() -> Sample,
    mut peer: impl FnMut() -> Sample,
) -> Samples {
    let mut samples = Samples { ours: Vec::new(), peer: Vec::new() };
    while goes_on(samples.ours.len()) {
        if samples.ours.len().is_multiple_of(2) {
            samples.ours.push(ours());
            samples.peer.push(peer());
        } else {
            samples.peer.push(peer());
            samples.ours.push(ours());
        }
    }
    samples
}

/// Says whether to go on after so many rounds.
#[expect(clippy::disallowed_methods, reason = "measuring is what this is for")]
pub(crate) fn until_enough(enough: Duration) -> impl FnMut(usize) -> bool {
    let start = Instant::now();
    move |rounds| {
        let may_stop = rounds >= *ROUNDS.start() && rounds % 2 == 1;
        !(may_stop && (rounds >= *ROUNDS.end() || start.elapsed() >= enough))
    }
}

/// Few rounds, in which each side takes its own time.
pub(crate) fn stopwatch(ours: impl FnMut() -> Duration, peer: impl FnMut() -> Duration) -> Samples {
    interleave(|rounds| rounds < *ROUNDS.start(), sampled(ours), sampled(peer))
}

fn sampled(mut side: impl FnMut() -> Duration) -> impl FnMut() -> Sample {
    move || Sample { nanoseconds: side().as_nanos() as f64, ..Sample::default() }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::samples::nanoseconds;

    #[test]
    fn rounds_are_odd_in_number_and_between_five_and_a_thousand() {
        let count = |enough| {
            let mut goes_on = until_enough(enough);
            (0..).find(|rounds| !goes_on(*rounds)).unwrap()
        };
        assert_eq!((count(Duration::ZERO), count(Duration::MAX)), (5, 1001));
        assert!(until_enough(Duration::ZERO)(6));
    }

    #[test]
    fn both_sides_run_in_turn_and_who_goes_first_alternates() {
        let order = RefCell::new(String::new());
        let side = |name| {
            let order = &order;
            move || {
                order.borrow_mut().push(name);
                Sample::default()
            }
        };
        let samples = interleave(|rounds| rounds < 3, side('o'), side('p'));
        assert_eq!((samples.ours.len(), samples.peer.len()), (3, 3));
        assert_eq!(order.into_inner(), "oppoop");
    }

    #[test]
    fn who_takes_its_own_time_is_asked_for_it_five_times() {
        let times = |factor: u64| {
            let mut times = [1, 2, 3, 4, 5].into_iter();
            move || Duration::from_nanos(factor * times.next().unwrap())
        };
        let samples = stopwatch(times(1), times(10));
        assert_eq!(nanoseconds(&samples.ours).median, 3.0);
        assert_eq!(samples.ratio().median, 0.1);
    }
}
