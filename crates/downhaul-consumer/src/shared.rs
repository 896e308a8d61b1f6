//! What a running consumer and its handles share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::broker::HeldLanes;
use crate::dead_letters::DeadLetters;
use crate::handler::Meta;
use crate::in_flight::InFlight;
use crate::lifecycle::{Link, State, Status, StopReport, Wanted, Wish};
use crate::message::Message;
use crate::settings::Settings;
use crate::snapshot::{LastError, Snapshot};
use crate::tally::{Counters, Tally};
use crate::way::Ways;

/// Written by the engine, read by handles; the wish goes the other way.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) wish: watch::Sender<Wish>,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) over: watch::Sender<bool>,
    pub(crate) counters: Counters,
    pub(crate) gauges: Gauges,
    pub(crate) last_stop: Mutex<Option<StopReport>>,
    pub(crate) ways: Ways,
    last_error: Mutex<Option<LastError>>,
    /// Of the source that is open.
    lanes: Mutex<HeldLanes>,
    in_flight: Mutex<HashMap<u64, InFlight>>,
    next_entry: AtomicU64,
    /// The message whose handler takes its first step on the engine's task, where it may block.
    stepping: Mutex<Option<(Message, u32, Instant)>>,
}

impl Shared {
    pub(crate) fn new(name: Arc<str>, settings: Settings, dead_letters: DeadLetters) -> Self {
        let status = Status {
            state: State::Starting,
            link: Link::Closed,
            failure: None,
            wanted: Wanted::Run,
            suspended_until: None,
            answers: 0,
        };
        let wish = Wish { wanted: Wanted::Run, version: 0, restarts: 0, settings };
        Self {
            name,
            dead_letters,
            wish: watch::Sender::new(wish),
            status: watch::Sender::new(status),
            over: watch::Sender::new(false),
            counters: Counters::default(),
            gauges: Gauges::default(),
            last_stop: Mutex::default(),
            ways: Ways::new(),
            last_error: Mutex::default(),
            lanes: Mutex::default(),
            in_flight: Mutex::default(),
            next_entry: AtomicU64::new(0),
            stepping: Mutex::default(),
        }
    }

    /// What tells that nothing happens: nothing is there, and nothing more was begun.
    pub(crate) fn idle_at(&self) -> Option<usize> {
        let gauge = |gauge: &AtomicUsize| gauge.load(Ordering::Relaxed);
        let (buffered, waiting) = (gauge(&self.gauges.buffered), gauge(&self.gauges.waiting));
        let handled = gauge(&self.gauges.handled);
        let is_idle = buffered + waiting + handled == 0 && self.entries().is_empty();
        is_idle.then(|| gauge(&self.gauges.begun))
    }

    /// Lists a message as being handled for as long as the entry lives.
    pub(crate) fn enter(self: &Arc<Self>, entry: InFlight) -> Entry {
        let key = self.next_entry.fetch_add(1, Ordering::Relaxed);
        self.entries().insert(key, entry);
        Entry { shared: Arc::clone(self), key }
    }

    /// Notes whose handler takes its first step on the engine's task, until the next or until
    /// [`Self::end_steps`]. It is for every message, so no more is kept than what costs nearly
    /// nothing.
    pub(crate) fn step(&self, meta: &Meta, begun: Instant) {
        let step = (meta.message.clone(), meta.attempt, begun);
        let before = self.stepping().replace(step);
        drop(before);
    }

    /// Notes that no handler takes its first step.
    pub(crate) fn end_steps(&self) {
        let last = self.stepping().take();
        drop(last);
    }

    fn stepping(&self) -> MutexGuard<'_, Option<(Message, u32, Instant)>> {
        self.stepping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn in_flight(&self) -> Vec<InFlight> {
        let mut all: Vec<InFlight> = self.entries().values().cloned().collect();
        let stepping = self.stepping().clone();
        all.extend(
            stepping.map(|(message, attempt, since)| InFlight::of(&message, attempt, since)),
        );
        all.sort_by_key(|entry| entry.since);
        all
    }

    pub(crate) fn tally(&self) -> Tally {
        self.counters.read()
    }

    pub(crate) fn note_error(&self, message_id: &str, error: &str) {
        let (message_id, error) = (message_id.to_owned(), error.to_owned());
        let error = LastError { message_id, error, at: SystemTime::now() };
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// Shows these lanes from now on.
    pub(crate) fn hold(&self, lanes: HeldLanes) {
        *self.lanes.lock().unwrap_or_else(PoisonError::into_inner) = lanes;
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let gauge = |gauge: &AtomicUsize| gauge.load(Ordering::Relaxed);
        Snapshot {
            name: Arc::clone(&self.name),
            status: self.status.borrow().clone(),
            settings: self.wish.borrow().settings,
            tally: self.tally(),
            in_flight: self.in_flight(),
            buffered: gauge(&self.gauges.buffered),
            in_line: gauge(&self.gauges.in_line),
            buffered_bytes: gauge(&self.gauges.buffered_bytes),
            waiting: gauge(&self.gauges.waiting),
            lanes: self.lanes.lock().unwrap_or_else(PoisonError::into_inner).all(),
            held_up: self.ways.complaints(),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<u64, InFlight>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much there is of what, now.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    /// Arrived and not begun.
    pub(crate) buffered: AtomicUsize,
    /// Of these, behind others of their key.
    pub(crate) in_line: AtomicUsize,
    /// Payloads of all that are buffered together.
    pub(crate) buffered_bytes: AtomicUsize,
    /// Waiting in hand, for another attempt or to be given back.
    pub(crate) waiting: AtomicUsize,
    /// Begun and not over: claimed, handled, or with something of it on its way to the broker.
    pub(crate) handled: AtomicUsize,
    /// Begun so far.
    pub(crate) begun: AtomicUsize,
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
