//! [`RetryPolicy`]: how often and how soon a failed message is tried again.

use std::time::Duration;

/// Exponential backoff with jitter, up to a number of attempts.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::RetryPolicy;
/// use std::time::Duration;
///
/// let (first, longest) = (Duration::from_millis(50), Duration::from_secs(5));
/// let policy = RetryPolicy::default().attempts(3).backoff(first, longest);
/// assert!(policy.delay_after(1) <= first);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    attempts: u32,
    backoff: Backoff,
    in_place_up_to: Duration,
}

/// Five attempts over 8 to 17 seconds; delays up to one second are waited for in place.
impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            backoff: Backoff::quadrupling(Duration::from_millis(200), Duration::from_secs(60)),
            in_place_up_to: Duration::from_secs(1),
        }
    }
}

impl RetryPolicy {
    /// How many attempts a message gets in all before it becomes a dead letter. At least 1.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// The delay after the first failure, which quadruples with each further one, and the longest
    /// delay.
    #[must_use]
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.backoff = Backoff::quadrupling(first, longest);
        self
    }

    /// Delays up to this are waited for in place, with the message in hand; longer ones are parked
    /// at the broker, so that they do not hold a place of work.
    #[must_use]
    pub fn in_place_up_to(mut self, delay: Duration) -> Self {
        self.in_place_up_to = delay;
        self
    }

    /// The delay after the `attempt`-th failure: between half of the backoff and all of it.
    pub fn delay_after(&self, attempt: u32) -> Duration {
        self.backoff.after(attempt)
    }

    pub(crate) fn is_last(&self, attempt: u32) -> bool {
        attempt >= self.attempts
    }

    pub(crate) fn is_short(&self, delay: Duration) -> bool {
        delay <= self.in_place_up_to
    }
}

/// Pauses that grow with each failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    first: Duration,
    factor: u32,
    longest: Duration,
}

impl Backoff {
    pub(crate) const fn doubling(first: Duration, longest: Duration) -> Self {
        Self { first, factor: 2, longest }
    }

    pub(crate) const fn quadrupling(first: Duration, longest: Duration) -> Self {
        Self { first, factor: 4, longest }
    }

    /// `first × factor^(failures − 1)` up to `longest`, of which a random part between one half and
    /// all is taken, so that many that failed together do not come back together.
    pub(crate) fn after(&self, failures: u32) -> Duration {
        let grown = self.factor.saturating_pow(failures.saturating_sub(1).min(30));
        let full = self.first.saturating_mul(grown).min(self.longest);
        full.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_policy_that_is_not_told_otherwise_is_as_its_words_say() {
        let policy = RetryPolicy::default();
        assert_eq!([4, 5].map(|attempt| policy.is_last(attempt)), [false, true]);
        assert!(policy.is_short(SECOND) && !policy.is_short(SECOND + Duration::from_nanos(1)));
        for (failures, full) in [(1, SECOND / 5), (2, SECOND * 4 / 5), (99, 60 * SECOND)] {
            let delays: Vec<_> = (0..200).map(|_| policy.delay_after(failures)).collect();
            assert!(delays.iter().all(|delay| (full / 2..=full).contains(delay)), "{delays:?}");
            // At random, and so not all of it each time, nor nearly half.
            assert!(delays.iter().any(|delay| *delay < full * 3 / 4), "{delays:?}");
            assert!(delays.iter().any(|delay| *delay > full * 3 / 4), "{delays:?}");
        }
    }
}
