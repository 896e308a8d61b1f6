//! What a running consumer and its handles share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use downhaul_context::{Instant, RequestId};
use tokio::sync::watch;

use crate::lifecycle::{Link, State, Status, Wanted, Wish};
use crate::tally::{Counters, Tally};

/// Written by the engine, read by handles; the wish goes the other way.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    pub(crate) wish: watch::Sender<Wish>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) over: watch::Sender<bool>,
    pub(crate) counters: Counters,
    /// How many have arrived and were not begun.
    pub(crate) buffered: AtomicUsize,
    in_flight: Mutex<HashMap<u64, InFlight>>,
    next_entry: AtomicU64,
}

impl Shared {
    pub(crate) fn new(name: Arc<str>) -> Self {
        let status =
            Status { state: State::Starting, link: Link::Closed, failure: None, answers: 0 };
        Self {
            name,
            wish: watch::Sender::new(Wish { wanted: Wanted::Run, version: 0 }),
            status: watch::Sender::new(status),
            over: watch::Sender::new(false),
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
        self.counters.read()
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
