//! [`Snapshot`]: a consumer at one moment.

use std::sync::Arc;
use std::time::SystemTime;

use crate::broker::HeldLane;
use crate::in_flight::InFlight;
use crate::lifecycle::Status;
use crate::settings::Settings;
use crate::tally::Tally;

/// A consumer at one moment: what a page or a metric shows of it.
///
/// The parts are read one after the other, so a message that moves meanwhile may be in two of them
/// or in none.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// The name of the consumer.
    pub name: Arc<str>,
    /// Its state and link, and what it was last asked to be.
    pub status: Status,
    /// How much it takes at a time.
    pub settings: Settings,
    /// What became of messages so far.
    pub tally: Tally,
    /// What is being handled, oldest first.
    pub in_flight: Vec<InFlight>,
    /// How many have arrived and are not begun.
    pub buffered: usize,
    /// How many of these wait behind others of their key.
    pub in_line: usize,
    /// Payloads and headers of all that are buffered together, in bytes.
    pub buffered_bytes: usize,
    /// How many wait in hand, for another attempt or to be given back.
    pub waiting: usize,
    /// The lanes that it has, where its broker has lanes that can be told: the partitions of topics
    /// that it reads, with how far it is behind in each.
    pub lanes: Vec<HeldLane>,
    /// What messages wait for besides their handlers, and why: that the dead letters or the broker
    /// take them, or that the inbox answers. Empty as long as all is well.
    pub held_up: Vec<String>,
    /// The latest error of a handler.
    pub last_error: Option<LastError>,
}

impl Snapshot {
    /// How many messages of all its lanes are not finished. `None` without lanes, or as long as
    /// that is known of none of them.
    pub fn lag(&self) -> Option<u64> {
        let known = self.lanes.iter().filter_map(|lane| lane.lag);
        known.reduce(u64::saturating_add)
    }
}

/// An error of a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastError {
    /// The message whose handler it was.
    pub message_id: String,
    /// The error and all that lies behind it, on one line.
    pub error: String,
    /// When the attempt was over.
    pub at: SystemTime,
}
