//! [`Pace`]: whether handlers are quick enough to be begun on the engine's own task.

use std::time::Duration;

/// The mean above which a first step is too long for the engine's task, in nanoseconds: some ten
/// times what a task of its own costs.
const QUICK: u64 = 20_000;
/// How many are begun on tasks of their own before the engine looks again.
const APART: u32 = 128;
/// One part in so many of the mean is the latest step.
const WEIGHT: u64 = 8;

/// A handler that is ready at once costs least where it is begun. One that computes or blocks there
/// would hold up all others and use one core alone, so those get tasks.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// In nanoseconds: durations cost more to work with.
    mean: u64,
    apart: u32,
}

impl Pace {
    /// Whether the next is begun in place.
    pub(crate) fn is_quick(&mut self) -> bool {
        if self.apart == 0 {
            return true;
        }
        self.apart -= 1;
        false
    }

    /// Notes how long a first step took in place.
    pub(crate) fn note(&mut self, took: Duration) {
        let seconds = took.as_secs().saturating_mul(1_000_000_000);
        let took = seconds.saturating_add(u64::from(took.subsec_nanos()));
        self.mean = self.mean / WEIGHT * (WEIGHT - 1) + took / WEIGHT;
        if self.mean > QUICK {
            *self = Self { mean: 0, apart: APART };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(took: Duration, times: usize) -> Pace {
        let mut pace = Pace::default();
        (0..times).for_each(|_| pace.note(took));
        pace
    }

    #[test]
    fn quick_steps_stay_in_place() {
        assert!(noted(Duration::from_micros(20), 10_000).is_quick());
    }

    #[test]
    fn slow_steps_go_apart_for_a_while() {
        let mut pace = noted(Duration::from_micros(40), 6);
        assert!((0..APART).all(|_| !pace.is_quick()));
        assert!(pace.is_quick());
    }

    #[test]
    fn one_that_blocks_is_enough() {
        assert!(!noted(Duration::from_millis(1), 1).is_quick());
    }
}
