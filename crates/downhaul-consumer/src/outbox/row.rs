//! A message in an outbox, and what becomes of it.

use std::time::Duration;

use crate::publish::Outgoing;

/// A message that was claimed, to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// What to settle it by.
    pub ticket: RowTicket,
    /// Rows of the same key are published in order; those without one in any.
    pub key: Option<String>,
    /// The message, with its destination.
    pub outgoing: Outgoing,
    /// How many times it was tried and failed.
    pub attempts: u32,
    /// How many of these the broker would not have it, and not just not then.
    pub refusals: u32,
}

impl Row {
    /// Makes a row that was never tried; for stores.
    pub fn new(ticket: RowTicket, key: Option<String>, outgoing: Outgoing) -> Self {
        Self { ticket, key, outgoing, attempts: 0, refusals: 0 }
    }

    /// Sets how many times it was tried, and refused.
    #[must_use]
    pub fn tried(mut self, attempts: u32, refusals: u32) -> Self {
        (self.attempts, self.refusals) = (attempts, refusals);
        self
    }
}

/// A claim of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_structs, reason = "a pair of numbers, which stores make and read")]
pub struct RowTicket {
    /// The number of the row: later rows have greater ones.
    pub number: u64,
    /// The number of the claim: each of a row has a greater one than those before.
    pub claim: u64,
}

/// What became of a claimed row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a store must know them all")]
pub enum Fate {
    /// The broker has it.
    Confirmed,
    /// It was tried and failed: it counts as an attempt, and is held back for a while.
    Retry {
        /// For how long.
        after: Duration,
        /// What was said of it, on one line.
        error: String,
        /// Whether the broker would not have it, and not just not then.
        refused: bool,
    },
    /// It is given up. It is kept, and can be looked at and tried again.
    Dead {
        /// What was said of it, on one line.
        error: String,
    },
    /// It was not tried: it is free at once.
    Released,
}

impl Fate {
    /// For how long the row is held back.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Retry { after, .. } => Some(*after),
            Self::Confirmed | Self::Dead { .. } | Self::Released => None,
        }
    }
}

/// How much there is in an outbox, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backlog {
    /// Waits to be claimed.
    pub pending: u64,
    /// Is claimed, with a lease that lasts.
    pub in_flight: u64,
    /// Was given up.
    pub dead: u64,
    /// The age of the oldest that is still to be published.
    pub oldest: Option<Duration>,
}

impl Backlog {
    /// Makes one; for stores.
    pub fn new(pending: u64, in_flight: u64, dead: u64, oldest: Option<Duration>) -> Self {
        Self { pending, in_flight, dead, oldest }
    }

    /// All that is still to be published: what is pending and what is claimed.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul_consumer::outbox::Backlog;
    ///
    /// assert_eq!(Backlog::new(3, 2, 1, None).unpublished(), 5);
    /// ```
    pub fn unpublished(&self) -> u64 {
        self.pending.saturating_add(self.in_flight)
    }
}
