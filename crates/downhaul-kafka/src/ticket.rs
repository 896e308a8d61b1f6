//! [`Ticket`]: what a token says of a delivery, so that it is found without a search.

use std::sync::atomic::{AtomicU32, Ordering};

use downhaul_consumer::{Lane, Token};

/// How many bits each part has. Numbers wrap around: what is out at a time is far less.
const DELIVERY: u32 = 8;
const PLACE: u32 = 36;
const LANE: u32 = 20;

/// One delivery of one message of one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) lane: Lane,
    /// The number of the message in its lane.
    pub(crate) place: u64,
    /// How often it was delivered before, so that an old verdict does not count for a new delivery.
    pub(crate) delivery: u8,
}

impl Ticket {
    pub(crate) fn token(self) -> Token {
        let lane = u64::from(self.lane.number()) & mask(LANE);
        let place = self.place & mask(PLACE);
        Token::new(lane << (PLACE + DELIVERY) | place << DELIVERY | u64::from(self.delivery))
    }

    pub(crate) fn of(token: Token) -> Self {
        let [delivery, ..] = token.number().to_le_bytes();
        let place = token.number() >> DELIVERY & mask(PLACE);
        let lane = u32::try_from(token.number() >> (PLACE + DELIVERY)).unwrap_or_default();
        Self { lane: Lane::new(lane), place, delivery }
    }
}

/// Numbers for lanes, one after another.
#[derive(Debug, Default)]
pub(crate) struct LaneNumbers(AtomicU32);

impl LaneNumbers {
    /// The next one.
    pub(crate) fn next(&self) -> Lane {
        // It wraps around as its lanes do.
        let last = self.0.fetch_add(1, Ordering::Relaxed);
        Lane::new(last.wrapping_add(1) & u32::try_from(mask(LANE)).unwrap_or(u32::MAX))
    }
}

/// How far a place is behind another, around the wrap.
pub(crate) fn distance(from: u64, to: u64) -> u64 {
    to.wrapping_sub(from) & mask(PLACE)
}

const fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_its_ticket_said() {
        for (lane, place, delivery) in [(0, 0, 0), (1, 2, 3), ((1 << 20) - 1, (1 << 36) - 1, 255)] {
            let ticket = Ticket { lane: Lane::new(lane), place, delivery };
            assert_eq!(Ticket::of(ticket.token()), ticket);
        }
    }

    #[test]
    fn numbers_wrap_around() {
        let numbers = LaneNumbers(AtomicU32::new((1 << 20) - 2));
        assert_eq!(numbers.next(), Lane::new((1 << 20) - 1));
        assert_eq!(numbers.next(), Lane::new(0));
        assert_eq!(distance((1 << 36) - 2, 3), 5);
        assert_eq!(distance(7, 9), 2);
    }
}
