//! [`later`]: a moment, however long it is until then.

use std::time::Duration;

use tokio::time::Instant;

/// What a delay without end is taken for, such as [`Duration::MAX`], which no instant can be told
/// after. Thirty years every clock can tell, and nobody waits for.
pub(crate) const EVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The moment that comes `delay` after `now`; a delay without end ends in thirty years.
pub(crate) fn later(now: Instant, delay: Duration) -> Instant {
    now + delay.min(EVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_delay_is_too_long() {
        let now = Instant::now();
        assert_eq!(later(now, Duration::from_secs(1)), now + Duration::from_secs(1));
        assert_eq!(later(now, Duration::MAX), now + EVER);
    }
}
