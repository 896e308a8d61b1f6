//! [`RelaySnapshot`]: a relay at one moment.

use std::sync::Arc;

use tokio::time::Instant;

use crate::outbox::Backlog;

/// A relay at one moment: what a page or a metric shows of it.
///
/// What it has counted is told since the relay was made, also where it was run several times.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RelaySnapshot {
    /// How many messages the broker has confirmed.
    pub published: u64,
    /// How many tries have failed. What was not sent was no try.
    pub failed: u64,
    /// How many rows it has given up.
    pub given_up: u64,
    /// When the broker last confirmed a message.
    pub last_published: Option<Instant>,
    /// How many rows it has in hand: under way, or waiting for one of their key that is.
    pub in_hand: usize,
    /// How much there was in the outbox when that was last counted: about every 5 s, less often
    /// where counting takes long, and when a run is over. None where it is not known.
    pub backlog: Option<Backlog>,
    /// Whether the outbox has answered in the run that is under way.
    pub reached: bool,
    /// Since when the outbox cannot be reached, or gives no answer, if so.
    pub store_fault: Option<Outage>,
    /// Since when nothing gets through to the broker, if so, though there is something to publish:
    /// for 10 s or more, the broker could not be reached, gave no answer or said no for now.
    pub stall: Option<Outage>,
    /// The first failure since the last confirmation, as long as it may become a stall.
    pub(super) silent_since: Option<Instant>,
}

/// That something does not work, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outage {
    /// Since when.
    pub since: Instant,
    /// The latest error, on one line.
    pub error: Arc<str>,
    /// Whether trying again without a change cannot help.
    pub is_permanent: bool,
}
