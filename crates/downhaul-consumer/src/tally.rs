//! [`Tally`]: how many messages went which way.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::broker::Verdict;

/// How many messages went which way, since the consumer was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Processed, and acknowledged.
    pub acked: u64,
    /// Failed attempts that were or will be followed by another.
    pub retried: u64,
    /// Given up, and put into the dead-letter queue.
    pub dead_lettered: u64,
    /// Given up, and thrown away on the handler's word.
    pub dropped: u64,
    /// Given back unprocessed.
    pub released: u64,
    /// Settled too late: the link was lost, so they come again.
    pub lost: u64,
    /// Still being handled when the last budget was over; they come again.
    pub abandoned: u64,
}

/// The tally as the engine counts it.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) acked: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) dead_lettered: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) released: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) abandoned: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) -> Tally {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Tally {
            acked: read(&self.acked),
            retried: read(&self.retried),
            dead_lettered: read(&self.dead_lettered),
            dropped: read(&self.dropped),
            released: read(&self.released),
            lost: read(&self.lost),
            abandoned: read(&self.abandoned),
        }
    }

    /// Counts a message whose verdict the broker has taken.
    pub(crate) fn count(&self, end: End) {
        let counter = match end {
            End::Acked => &self.acked,
            End::DeadLettered => &self.dead_lettered,
            End::Dropped => &self.dropped,
            End::Parked => &self.retried,
            End::Released => &self.released,
        };
        Self::add(counter, 1);
    }

    pub(crate) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// How the handling of a message ended, to be counted once the broker has taken the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Acked,
    DeadLettered,
    Dropped,
    Parked,
    Released,
}

impl End {
    pub(crate) fn verdict(self) -> Verdict {
        match self {
            Self::Acked | Self::DeadLettered | Self::Dropped | Self::Parked => Verdict::Ack,
            Self::Released => Verdict::Release,
        }
    }
}
