//! What a running consumer and its handles share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use downhaul_context::{Instant, RequestId};
use tokio::sync::watch;

use crate::engine::End;
use crate::lifecycle::{Link, State, Status, Wanted, Wish};

/// Written by the engine, read by handles; the wish goes the other way.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    pub(crate) wish: watch::Sender<Wish>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) over: watch::Sender<bool>,
    pub(crate) stop_budget: Duration,
    pub(crate) counters: Counters,
    /// How many have arrived and were not begun.
    pub(crate) buffered: AtomicUsize,
    in_flight: Mutex<HashMap<u64, InFlight>>,
    next_entry: AtomicU64,
}

impl Shared {
    pub(crate) fn new(name: Arc<str>, stop_budget: Duration) -> Self {
        let status =
            Status { state: State::Starting, link: Link::Closed, failure: None, answers: 0 };
        Self {
            name,
            wish: watch::Sender::new(Wish { wanted: Wanted::Run, version: 0 }),
            status: watch::Sender::new(status),
            over: watch::Sender::new(false),
            stop_budget,
            counters: Counters::default(),
            buffered: AtomicUsize::new(0),
            in_flight: Mutex::default(),
            next_entry: AtomicU64::new(0),
        }
    }

    /// Lists a message as being handled for as long as the entry lives.
    pub(crate) fn enter(self: &Arc<Self>, entry: InFlight) -> Entry {
        let key = self.next_entry.fetch_add(1, Ordering::Relaxed);
        self.entries().insert(key, entry);
        Entry { shared: Arc::clone(self), key }
    }

    pub(crate) fn in_flight(&self) -> Vec<InFlight> {
        let mut all: Vec<InFlight> = self.entries().values().cloned().collect();
        all.sort_by_key(|entry| entry.since);
        all
    }

    pub(crate) fn tally(&self) -> Tally {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        Tally {
            acked: read(&counters.acked),
            retried: read(&counters.retried),
            dead_lettered: read(&counters.dead_lettered),
            dropped: read(&counters.dropped),
            released: read(&counters.released),
            lost: read(&counters.lost),
            abandoned: read(&counters.abandoned),
        }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<u64, InFlight>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes its message off the list when dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    shared: Arc<Shared>,
    key: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.entries().remove(&self.key);
    }
}

/// A message that is being handled.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InFlight {
    /// The id of the message.
    pub message_id: String,
    /// The request that it belongs to.
    pub request_id: RequestId,
    /// When its handling began.
    pub since: Instant,
}

impl InFlight {
    pub(crate) fn new(message_id: &str, request_id: RequestId) -> Self {
        Self { message_id: message_id.to_owned(), request_id, since: Instant::now() }
    }
}

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
