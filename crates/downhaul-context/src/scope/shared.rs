//! [`Shared`]: what a scope knows of its work.
//!
//! # Invariants
//!
//! 1. Work is in `entries` from before it begins until nothing of it is left.
//! 2. A scope is closed when somebody, under its lock, has seen that no work is left, or has given
//!    up on what is left. Then nothing enters any more. So an end that was seen stays.
//! 3. A child scope with work has a ticket in its parent: taken before its first work enters,
//!    given back after its last has left.
//! 4. Locks are taken from child to parent. No waker and no code of a task runs under one.
//! 5. Whoever closes a scope that is empty ends its context next.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::error::TaskError;
use super::state::{Entry, State};
use super::work::{Tag, Work};
use crate::canceller::Canceller;
use crate::cause::Reason;

pub(super) struct Shared {
    pub(super) label: Cow<'static, str>,
    pub(super) location: &'static Location<'static>,
    parent: Option<Arc<Self>>,
    canceller: Weak<Canceller>,
    state: Mutex<State>,
    /// Told when no work is left, or none that can be aborted.
    left: Notify,
}

/// Keeps work in the entries of a scope.
pub(super) struct Ticket {
    shared: Arc<Shared>,
    id: u64,
}

impl Shared {
    pub(super) fn new(
        label: Cow<'static, str>,
        location: &'static Location<'static>,
        parent: Option<Arc<Self>>,
        canceller: &Arc<Canceller>,
    ) -> Arc<Self> {
        let canceller = Arc::downgrade(canceller);
        let (state, left) = (Mutex::default(), Notify::new());
        Arc::new(Self { label, location, parent, canceller, state, left })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds work, unless the scope is closed.
    pub(super) fn enter(self: &Arc<Self>, tag: Tag) -> Option<Ticket> {
        self.add(Entry::Work { tag, abort: None })
    }

    fn add(self: &Arc<Self>, entry: Entry) -> Option<Ticket> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        if let Some(parent) = self.parent.as_ref().filter(|_| state.is_empty()) {
            state.in_parent = Some(parent.add(Entry::Child(Arc::downgrade(self)))?);
        }
        let id = state.insert(entry);
        Some(Ticket { shared: Arc::clone(self), id })
    }

    fn leave(&self, id: u64) {
        let mut state = self.lock();
        let entry = state.remove(id);
        let in_parent = if state.is_empty() { state.in_parent.take() } else { None };
        let over = state.draining && state.close_if_empty();
        let is_news = state.is_empty() || state.is_aborted();
        drop(state);
        if is_news {
            self.left.notify_waiters();
        }
        if over {
            self.end();
        }
        drop((entry, in_parent));
    }

    /// Keeps the means to abort a task that was started, or uses it if it is time already.
    pub(super) fn started(&self, id: u64, abort: AbortHandle) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            abort.abort();
        } else {
            state.set_abort(id, abort);
        }
    }

    /// Lets nothing enter any more and aborts what can be, here and in child scopes.
    pub(super) fn abort(self: &Arc<Self>) {
        let mut scopes = vec![Arc::clone(self)];
        while let Some(scope) = scopes.pop() {
            let (aborts, children) = scope.lock().give_up();
            scopes.extend(children);
            aborts.iter().for_each(AbortHandle::abort);
        }
    }

    /// Ends the context as soon as no work is left. Returns whether that is now.
    pub(super) fn drain(&self) -> bool {
        let mut state = self.lock();
        state.draining = true;
        state.close_if_empty()
    }

    /// Ends the context because the work is over.
    pub(super) fn end(&self) {
        if let Some(canceller) = self.canceller.upgrade() {
            canceller.cancel_for(Reason::cancelled("its work is over"), self.location);
        }
    }

    /// Ends the context because a task failed, unless the scope supervises. Returns whether this
    /// call did.
    pub(super) fn fail(&self, error: &TaskError) -> bool {
        if self.lock().supervise {
            return false;
        }
        let Some(canceller) = self.canceller.upgrade() else { return false };
        canceller.cancel_for(error.reason(), error.work().location)
    }

    /// Waits until `reached` holds. It is asked again when no work is left or none to abort.
    pub(super) async fn until(&self, reached: impl Fn(&mut State) -> bool) {
        loop {
            // Made before the look, so that what changes after it is heard.
            let left = self.left.notified();
            if reached(&mut self.lock()) {
                return;
            }
            left.await;
        }
    }

    pub(super) fn in_flight(self: &Arc<Self>) -> Vec<Work> {
        let mut found = Vec::new();
        let mut scopes = VecDeque::from([(Arc::clone(self), String::new())]);
        while let Some((scope, prefix)) = scopes.pop_front() {
            let state = scope.lock();
            for entry in state.in_order() {
                match entry {
                    Entry::Work { tag, .. } => found.push(prefixed(&prefix, tag.work())),
                    Entry::Child(child) => scopes.extend(child.upgrade().map(|child| {
                        let prefix = format!("{prefix}{} > ", child.label);
                        (child, prefix)
                    })),
                }
            }
        }
        found
    }
}

fn prefixed(prefix: &str, work: Work) -> Work {
    match prefix {
        "" => work,
        _ => Work { name: Cow::Owned(format!("{prefix}{}", work.name)), ..work },
    }
}

impl Ticket {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.leave(self.id);
    }
}
