//! [`Moment`]: a point of tokio's clock in one word.

mod coarse;

use std::sync::LazyLock;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::Instant;

/// What moments are counted from.
static EPOCH: LazyLock<Epoch> = LazyLock::new(Epoch::new);

struct Epoch {
    at: Instant,
    /// The same or a little before, by the clock of [`coarse`].
    by_coarse: Option<i64>,
}

impl Epoch {
    /// A day ago, so that deadlines of the recent past have a moment too. By the system's clock:
    /// all clocks count from here, and a test may have moved tokio's far ahead.
    #[expect(clippy::disallowed_methods, reason = "tokio's clock can be one that a test has moved")]
    fn new() -> Self {
        let by_coarse = coarse::precise();
        let now = std::time::Instant::now();
        let day = Duration::from_secs(86_400);
        match now.checked_sub(day) {
            Some(at) => {
                let by_coarse = by_coarse.and_then(|now| now.checked_sub_unsigned(nanos(day)));
                Self { at: at.into(), by_coarse }
            }
            None => Self { at: now.into(), by_coarse },
        }
    }
}

/// Whether the clock of this runtime is the system's for good, and so [`Moment::is_far`] may be
/// asked of what is set here. Only a runtime of one thread has a clock that a test can stop and
/// move.
pub(crate) fn is_steady() -> bool {
    Handle::try_current().is_ok_and(|here| here.runtime_flavor() == RuntimeFlavor::MultiThread)
}

/// Nanoseconds since [`EPOCH`]. What is before it counts as it, and what is more than 584 years
/// after it never comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    /// Before all others.
    pub(crate) const START: Self = Self(0);
    /// After all others.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) fn now() -> Self {
        Self::from(Instant::now())
    }

    pub(crate) fn has_come(self, now: Self) -> bool {
        self <= now && self != Self::NEVER
    }

    /// Whether this is so far ahead that even a clock can tell which is cheap to read and some
    /// milliseconds behind. By the system's clock: see [`is_steady`].
    #[inline]
    pub(crate) fn is_far(self) -> bool {
        let Some((now, epoch)) = coarse::coarse().zip(EPOCH.by_coarse) else { return false };
        let now = u64::try_from(now.wrapping_sub(epoch)).unwrap_or(u64::MAX);
        now.saturating_add(nanos(coarse::BEHIND)) < self.0
    }

    /// The moment `span` after this one.
    pub(crate) fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }

    /// The moment `span` before this one.
    pub(crate) fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(span)))
    }

    /// The time from `earlier` to this one.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Since the moments' epoch.
    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// `None` for [`NEVER`](Self::NEVER).
    pub(crate) fn instant(self) -> Option<Instant> {
        if self == Self::NEVER {
            return None;
        }
        EPOCH.at.checked_add(Duration::from_nanos(self.0))
    }
}

impl From<Instant> for Moment {
    fn from(at: Instant) -> Self {
        Self(nanos(at.saturating_duration_since(EPOCH.at)))
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_the_same_after_the_way_through_a_moment() {
        let now = Instant::now();
        assert_eq!(Moment::from(now).instant(), Some(now));
        let long_ago = now - Duration::from_secs(3600);
        assert_eq!(Moment::from(long_ago).instant(), Some(long_ago));
    }

    #[tokio::test(start_paused = true)]
    async fn the_epoch_is_in_the_past_of_all_clocks_whichever_looks_first() {
        let start = Instant::now();
        tokio::time::advance(Duration::from_secs(10 * 86_400)).await;
        assert!(Epoch::new().at <= start);
    }

    #[test]
    fn what_is_near_or_past_is_not_far() {
        let now = Moment::now();
        assert!(!now.is_far() && !Moment::START.is_far());
        let has_coarse_clock = coarse::coarse().is_some();
        assert_eq!(now.after(Duration::from_secs(60)).is_far(), has_coarse_clock);
    }

    #[test]
    fn a_coarse_clock_is_never_ahead_of_the_precise_one() {
        assert!((0..1000).all(|_| coarse::coarse() <= coarse::precise()));
    }

    #[tokio::test]
    async fn the_clock_of_one_thread_is_not_steady() {
        assert!(!is_steady());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_clock_of_many_threads_is_steady() {
        assert!(is_steady());
    }

    #[test]
    fn what_is_too_far_away_never_comes() {
        let never = Moment::now().after(Duration::MAX);
        assert_eq!((never, never.instant(), never.has_come(never)), (Moment::NEVER, None, false));
    }
}
