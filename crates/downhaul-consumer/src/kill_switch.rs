//! [`KillSwitch`]: stops taking messages while nearly all of them fail.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::later::later;

/// When a consumer stops taking messages because they fail, and when it tries again.
///
/// A database that is down fails every message, and each uses up its attempts. With a kill switch
/// the consumer lets them lie instead: it opens when, of at least [`at_least`](Self::at_least)
/// attempts within the [`window`](Self::window), the [`share`](Self::share) of failures is reached.
/// Then nothing is taken for the [`pause`](Self::pause); after that one message is tried alone. If
/// it succeeds the consumer goes on, and if it fails it pauses again. A message whose deadline has
/// passed is no attempt.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::KillSwitch;
/// use std::time::Duration;
///
/// let switch = KillSwitch::default().share(0.5).pause(Duration::from_secs(30));
/// # let _ = switch;
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct KillSwitch {
    at_least: usize,
    share: f64,
    window: Duration,
    pause: Duration,
}

/// Opens when 80 % of at least 10 attempts within 60 s have failed, and pauses for 30 s.
impl Default for KillSwitch {
    fn default() -> Self {
        Self {
            at_least: 10,
            share: 0.8,
            window: Duration::from_secs(60),
            pause: Duration::from_secs(30),
        }
    }
}

impl KillSwitch {
    /// How many attempts it takes to judge. At least 1, at most 10,000.
    #[must_use]
    pub fn at_least(mut self, attempts: usize) -> Self {
        self.at_least = attempts.clamp(1, MOST);
        self
    }

    /// The share of failures that opens it: above 0, at most 1. With 0 or less, any failure does;
    /// what is no number counts as 1.
    #[must_use]
    pub fn share(mut self, share: f64) -> Self {
        let share = if share.is_nan() { 1.0 } else { share };
        self.share = share.clamp(f64::MIN_POSITIVE, 1.0);
        self
    }

    /// How far back attempts count.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// How long nothing is taken.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }
}

/// How many attempts are remembered.
const MOST: usize = 10_000;

/// What a kill switch allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    All,
    /// One message at a time.
    One,
    NoneUntil(Instant),
}

/// What an attempt did to a kill switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turned {
    /// It opened, after so many failures of so many attempts.
    Open {
        failures: usize,
        attempts: usize,
    },
    /// The one that was tried failed as well.
    OpenAgain,
    Closed,
}

impl Turned {
    pub(crate) fn tell(self, queue: &str) {
        match self {
            Self::Open { failures, attempts } => tracing::warn!(
                queue,
                failures,
                attempts,
                "too much fails: nothing is taken until the kill switch tries one"
            ),
            Self::OpenAgain => {
                tracing::debug!(queue, "the kill switch stays open: one more failed")
            }
            Self::Closed => {
                tracing::info!(queue, "the kill switch is closed: what it tried did not fail");
            }
        }
    }
}

/// A kill switch at work. Closed is the state in which messages flow, as with electricity.
#[derive(Debug)]
pub(crate) struct Breaker {
    policy: KillSwitch,
    /// When each attempt ended, and whether it failed.
    attempts: VecDeque<(Instant, bool)>,
    failures: usize,
    open_until: Option<Instant>,
    /// Whether the message that is tried alone was begun.
    is_trying: bool,
}

impl Breaker {
    pub(crate) fn new(policy: KillSwitch) -> Self {
        let (attempts, failures) = (VecDeque::new(), 0);
        Self { policy, attempts, failures, open_until: None, is_trying: false }
    }

    pub(crate) fn allows(&self, now: Instant) -> Allowed {
        match self.open_until {
            None => Allowed::All,
            Some(until) if now < until => Allowed::NoneUntil(until),
            Some(_) => Allowed::One,
        }
    }

    /// The message that is tried begins, alone: the next attempt that ends is this one.
    pub(crate) fn begin_trial(&mut self) {
        self.is_trying = true;
    }

    /// Counts an attempt that ended. Returns what this did to the switch, if anything.
    pub(crate) fn record(&mut self, now: Instant, failed: bool) -> Option<Turned> {
        match self.allows(now) {
            // An attempt from before it opened says nothing new.
            Allowed::NoneUntil(_) => None,
            Allowed::One if !self.is_trying => None,
            Allowed::One => {
                self.is_trying = false;
                self.open_until = failed.then(|| later(now, self.policy.pause));
                Some(if failed { Turned::OpenAgain } else { Turned::Closed })
            }
            Allowed::All => {
                self.remember(now, failed);
                self.is_reached().then(|| {
                    let (failures, attempts) = (self.failures, self.attempts.len());
                    self.forget();
                    self.open_until = Some(later(now, self.policy.pause));
                    Turned::Open { failures, attempts }
                })
            }
        }
    }

    fn remember(&mut self, now: Instant, failed: bool) {
        self.attempts.push_back((now, failed));
        self.failures += usize::from(failed);
        while self.attempts.front().is_some_and(|(at, _)| {
            self.attempts.len() > MOST || now.duration_since(*at) > self.policy.window
        }) {
            let (_, failed) = self.attempts.pop_front().unwrap_or((now, false));
            self.failures -= usize::from(failed);
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "counts up to ten thousand are exact")]
    fn is_reached(&self) -> bool {
        let count = self.attempts.len();
        count >= self.policy.at_least && self.failures as f64 >= self.policy.share * count as f64
    }

    fn forget(&mut self) {
        self.attempts.clear();
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn breaker() -> (Breaker, Instant) {
        let policy = KillSwitch::default().at_least(4).share(0.5).window(10 * SECOND);
        (Breaker::new(policy.pause(5 * SECOND)), Instant::now())
    }

    fn record(breaker: &mut Breaker, now: Instant, failed: &[bool]) -> Vec<bool> {
        failed.iter().map(|failed| breaker.record(now, *failed).is_some()).collect()
    }

    #[test]
    fn it_opens_when_the_share_is_reached_of_enough_attempts() {
        let (mut breaker, now) = breaker();
        let opened = record(&mut breaker, now, &[true, true, false, false]);
        assert_eq!(opened, [false, false, false, true]);
        assert_eq!(breaker.allows(now), Allowed::NoneUntil(now + 5 * SECOND));
    }

    #[test]
    fn every_share_is_between_none_and_all() {
        let opens_by = |share, failed: &[bool]| {
            let policy = KillSwitch::default().at_least(4).share(share);
            record(&mut Breaker::new(policy), Instant::now(), failed).contains(&true)
        };
        for share in [0.0, -0.0, -1.0, f64::NEG_INFINITY] {
            assert!(opens_by(share, &[true, false, false, false]), "{share}");
            assert!(!opens_by(share, &[false; 4]), "{share}");
        }
        for share in [1.5, f64::INFINITY, f64::NAN, -f64::NAN] {
            assert!(opens_by(share, &[true; 4]), "{share}");
            assert!(!opens_by(share, &[true, true, true, false]), "{share}");
        }
    }

    #[test]
    fn it_stays_closed_below_the_share_and_forgets_what_is_old() {
        let (mut breaker, now) = breaker();
        record(&mut breaker, now, &[true, true, true]);
        let later = now + 11 * SECOND;
        assert_eq!(record(&mut breaker, later, &[true, false, false, false]), [false; 4]);
        assert_eq!(breaker.allows(later), Allowed::All);
    }

    #[test]
    fn after_the_pause_one_attempt_decides() {
        let (mut breaker, now) = breaker();
        record(&mut breaker, now, &[true; 4]);
        let half = now + 5 * SECOND;
        assert_eq!(breaker.allows(half), Allowed::One);
        breaker.begin_trial();
        assert_eq!(breaker.record(half, true), Some(Turned::OpenAgain));
        assert_eq!(breaker.allows(half + SECOND), Allowed::NoneUntil(half + 5 * SECOND));
        let again = half + 5 * SECOND;
        breaker.begin_trial();
        assert_eq!(breaker.record(again, false), Some(Turned::Closed));
        assert_eq!(breaker.allows(again), Allowed::All);
        // What failed before counts no more.
        assert_eq!(record(&mut breaker, again, &[true; 3]), [false; 3]);
    }

    #[test]
    fn what_was_begun_before_it_opened_does_not_close_it() {
        let (mut breaker, now) = breaker();
        record(&mut breaker, now, &[true; 4]);
        assert_eq!(breaker.record(now + SECOND, false), None);
        assert_eq!(breaker.allows(now + SECOND), Allowed::NoneUntil(now + 5 * SECOND));
        assert_eq!(breaker.record(now + 6 * SECOND, false), None);
        assert_eq!(breaker.allows(now + 6 * SECOND), Allowed::One);
    }

    #[test]
    fn one_that_is_not_told_otherwise_is_as_its_words_say() {
        let (mut breaker, now) = (Breaker::new(KillSwitch::default()), Instant::now());
        record(&mut breaker, now, &[true; 9]);
        // After a minute they count no more, and eight of ten are enough.
        let later = now + 61 * SECOND;
        let opened = record(&mut breaker, later - 2 * SECOND, &[false]);
        assert_eq!(opened, [true], "nine of ten");
        assert_eq!(breaker.allows(later), Allowed::NoneUntil(later + 28 * SECOND));
        let mut breaker = Breaker::new(KillSwitch::default());
        record(&mut breaker, now, &[true; 9]);
        let seven = [true, true, true, true, true, true, true, false, false];
        assert!(!record(&mut breaker, later, &seven).contains(&true));
        assert_eq!(record(&mut breaker, later, &[true]), [true], "eight of ten");
    }

    #[test]
    fn what_ends_after_a_failed_trial_is_not_the_next_one() {
        let (mut breaker, now) = breaker();
        record(&mut breaker, now, &[true; 4]);
        breaker.begin_trial();
        assert_eq!(breaker.record(now + 5 * SECOND, true), Some(Turned::OpenAgain));
        assert_eq!(breaker.record(now + 10 * SECOND, false), None, "it was begun long before");
        assert_eq!(breaker.allows(now + 10 * SECOND), Allowed::One);
    }
}
