//! [`Throttle`]: keeps to a [`Rate`].

use tokio::time::Instant;

use crate::rate::Rate;

/// Keeps to a rate by one instant (the generic cell rate algorithm): when the bucket will be full
/// again.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    rate: Option<Rate>,
    full_at: Option<Instant>,
}

impl Throttle {
    /// Keeps to another rate from now on. What was used of the old one does not count.
    pub(crate) fn set(&mut self, rate: Option<Rate>) {
        if self.rate != rate {
            *self = Self { rate, full_at: None };
        }
    }

    /// Takes one message's turn, or says when there is one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let Some(rate) = self.rate else { return Ok(()) };
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + rate.interval();
        let free_at = full_at.checked_sub(rate.per()).unwrap_or(now);
        if free_at > now {
            return Err(free_at);
        }
        self.full_at = Some(full_at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn throttle(messages: u32, per: Duration) -> Throttle {
        let mut throttle = Throttle::default();
        throttle.set(Some(Rate::new(messages, per)));
        throttle
    }

    #[test]
    fn a_burst_up_to_the_number_and_then_an_even_pace() {
        let (mut throttle, begun) = (throttle(4, SECOND), Instant::now());
        assert!((0..4).all(|_| throttle.take(begun).is_ok()));
        assert_eq!(throttle.take(begun), Err(begun + SECOND / 4));
        assert_eq!(throttle.take(begun + SECOND / 4), Ok(()));
        assert_eq!(throttle.take(begun + SECOND / 4), Err(begun + SECOND / 2));
    }

    #[test]
    fn never_more_than_twice_the_number_in_any_span() {
        let (mut throttle, begun) = (throttle(10, SECOND), Instant::now());
        let millis = |count| begun + Duration::from_millis(count);
        let taken: Vec<u64> =
            (0..5_000).filter(|now| throttle.take(millis(*now)).is_ok()).collect();
        assert!(taken.len() >= 50 && taken.len() <= 60, "{}", taken.len());
        for start in 0..4_000 {
            let span = taken.iter().filter(|at| (start..start + 1_000).contains(*at)).count();
            assert!(span <= 20, "{span} from {start}");
        }
    }

    #[test]
    fn a_new_rate_counts_from_its_own_beginning() {
        let (mut throttle, begun) = (throttle(1, 60 * SECOND), Instant::now());
        assert_eq!(throttle.take(begun), Ok(()));
        assert!(throttle.take(begun + SECOND).is_err());
        throttle.set(Some(Rate::new(2, SECOND)));
        assert_eq!(throttle.take(begun + SECOND), Ok(()));
        throttle.set(None);
        assert!((0..1_000).all(|_| throttle.take(begun + SECOND).is_ok()));
    }
}
