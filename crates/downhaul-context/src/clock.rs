//! [`Moment`]: a point of tokio's clock in one word.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;

/// What moments are counted from.
static EPOCH: LazyLock<Instant> = LazyLock::new(epoch);

/// A day ago, so that deadlines of the recent past have a moment too. By the system's clock: all
/// clocks count from here, and a test may have moved this one far ahead.
#[expect(clippy::disallowed_methods, reason = "tokio's clock can be one that a test has moved")]
fn epoch() -> Instant {
    let now = std::time::Instant::now();
    now.checked_sub(Duration::from_secs(86_400)).unwrap_or(now).into()
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

    /// The moment `span` after this one.
    pub(crate) fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
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
        EPOCH.checked_add(Duration::from_nanos(self.0))
    }
}

impl From<Instant> for Moment {
    fn from(at: Instant) -> Self {
        Self(nanos(at.saturating_duration_since(*EPOCH)))
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
        assert!(epoch() <= start);
    }

    #[test]
    fn what_is_too_far_away_never_comes() {
        let never = Moment::now().after(Duration::MAX);
        assert_eq!((never, never.instant(), never.has_come(never)), (Moment::NEVER, None, false));
    }
}
