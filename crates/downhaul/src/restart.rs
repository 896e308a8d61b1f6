//! [`Restart`]: whether a component that failed runs again, when, and when not any more.

use std::time::Duration;

/// How a component that fails is started again.
///
/// The components that need it stop first, in order, and start again after it. Each failure in a
/// row doubles the wait before the next start, and one too many is final. A row ends when the
/// component has run for a while: that it started again proves nothing.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use downhaul::Restart;
///
/// let patient = Restart::new()
///     .attempts(10)
///     .backoff(Duration::from_secs(1), Duration::from_secs(60))
///     .stable_after(Duration::from_secs(300));
/// # let _ = patient;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Restart {
    attempts: u32,
    first: Duration,
    longest: Duration,
    stable_after: Duration,
}

impl Restart {
    /// Five starts in a row, the first after 0.1 s and none after more than 30 s; a minute ends a
    /// row.
    pub const fn new() -> Self {
        Self {
            attempts: 5,
            first: Duration::from_millis(100),
            longest: Duration::from_secs(30),
            stable_after: Duration::from_secs(60),
        }
    }

    /// How many times it is started again in a row; the failure after that is final. Default 5.
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// The wait before the first start of a row and the longest one. Default 0.1 s and 30 s.
    ///
    /// A wait is shortened by up to half at random, so that many processes do not start again in
    /// step.
    pub const fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        (self.first, self.longest) = (first, longest);
        self
    }

    /// How long it must run to count as well again. Default a minute.
    pub const fn stable_after(mut self, time: Duration) -> Self {
        self.stable_after = time;
        self
    }
}

impl Default for Restart {
    fn default() -> Self {
        Self::new()
    }
}

/// The failures of a component in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FailureStreak(u32);

impl FailureStreak {
    /// Counts a failure after it ran for so long, and says how long to wait before it starts again,
    /// if it may. `random` is in `0.0..1.0`.
    pub(crate) fn wait(&mut self, policy: Restart, ran: Duration, random: f64) -> Option<Duration> {
        if ran >= policy.stable_after {
            self.0 = 0;
        }
        self.0 = self.0.saturating_add(1);
        (self.0 <= policy.attempts).then(|| {
            let doubled =
                policy.first.saturating_mul(1_u32.checked_shl(self.0 - 1).unwrap_or(u32::MAX));
            let wait = doubled.min(policy.longest);
            wait - wait.mul_f64(random / 2.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(1);

    fn waits(policy: Restart, ran: Duration, random: f64) -> Vec<Option<u128>> {
        let mut streak = FailureStreak::default();
        (0..4).map(|_| streak.wait(policy, ran, random).map(|wait| wait.as_millis())).collect()
    }

    #[test]
    fn each_wait_of_a_row_doubles_up_to_the_longest_and_the_row_is_finite() {
        let policy = Restart::new()
            .attempts(3)
            .backoff(Duration::from_millis(100), Duration::from_millis(350));
        assert_eq!(waits(policy, SHORT, 0.0), [Some(100), Some(200), Some(350), None]);
    }

    #[test]
    fn at_most_half_of_a_wait_is_left_out() {
        assert_eq!(waits(Restart::new(), SHORT, 1.0)[0], Some(50));
    }

    #[test]
    fn a_row_ends_when_it_ran_for_a_while() {
        let policy = Restart::new().attempts(1).stable_after(Duration::from_secs(60));
        assert_eq!(waits(policy, Duration::from_secs(59), 0.0)[1], None);
        assert_eq!(waits(policy, Duration::from_secs(60), 0.0)[3], Some(100));
    }

    #[test]
    fn a_row_without_end_does_not_overflow() {
        let (mut streak, policy) = (FailureStreak(u32::MAX - 1), Restart::new().attempts(u32::MAX));
        assert_eq!(streak.wait(policy, SHORT, 0.0), Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_wait_without_end_does_not_overflow() {
        let policy = Restart::new().backoff(Duration::MAX, Duration::MAX);
        assert_eq!(FailureStreak::default().wait(policy, SHORT, 0.0), Some(Duration::MAX));
    }
}
