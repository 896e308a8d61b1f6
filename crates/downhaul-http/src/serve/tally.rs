//! [`Tally`]: the requests of one connection, counted.
//!
//! Each connection has its own, for a request should touch nothing that others touch as well.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Shared by a connection and the list of all connections, so that what is counted is neither lost
/// nor counted twice when the connection goes.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    in_flight: AtomicUsize,
    finished: AtomicU64,
    cancelled: AtomicU64,
}

/// How a request has ended, as drains count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself.
    Finished,
    /// After the context of the server.
    Cancelled,
    /// After its socket was closed, which is told of it already.
    Forced,
}

/// How many requests have ended: by themselves, and after the context of the server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ended {
    pub(crate) finished: u64,
    pub(crate) cancelled: u64,
}

impl Tally {
    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn end(&self, end: End) {
        match end {
            End::Finished => _ = self.finished.fetch_add(1, Ordering::AcqRel),
            End::Cancelled => _ = self.cancelled.fetch_add(1, Ordering::AcqRel),
            End::Forced => {}
        }
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    pub(crate) fn ended(&self) -> Ended {
        let finished = self.finished.load(Ordering::Acquire);
        Ended { finished, cancelled: self.cancelled.load(Ordering::Acquire) }
    }
}

impl Ended {
    pub(crate) fn and(self, other: Self) -> Self {
        let finished = self.finished + other.finished;
        Self { finished, cancelled: self.cancelled + other.cancelled }
    }

    /// Those that ended since.
    pub(crate) fn since(self, before: Self) -> Self {
        let finished = self.finished - before.finished;
        Self { finished, cancelled: self.cancelled - before.cancelled }
    }
}
