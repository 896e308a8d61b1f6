//! [`Pace`]: whether handlers are quick enough to be begun on the engine's own task.

use std::time::Duration;

use tokio::time::Instant;

/// The mean above which a first step is too long for the engine's task: some ten times what a task
/// of its own costs.
const QUICK: Duration = Duration::from_micros(20);
/// How many are begun on tasks of their own before the engine looks again.
const APART: usize = 256;

/// A handler that is ready at once costs least where it is begun. One that computes for long there
/// would hold up all others and use one core alone, so those get tasks.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    apart: usize,
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

    /// Judges a run of `count` that were begun in place.
    pub(crate) fn judge(&mut self, begun: Instant, now: Instant, count: u32) {
        if now.saturating_duration_since(begun) > QUICK * count {
            self.apart = APART;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_first_steps_go_apart_for_a_while() {
        let (mut pace, begun) = (Pace::default(), Instant::now());
        pace.judge(begun, begun + QUICK * 10, 10);
        assert!(pace.is_quick());
        pace.judge(begun, begun + QUICK * 11, 10);
        assert!((0..APART).all(|_| !pace.is_quick()));
        assert!(pace.is_quick());
    }
}
