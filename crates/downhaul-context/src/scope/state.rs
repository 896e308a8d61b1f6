//! [`State`]: the books of a scope, under its lock. The invariants are those of
//! [`shared`](super::shared).

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use tokio::task::AbortHandle;

use super::report::Tally;
use super::shared::{Shared, Ticket};
use super::work::{Tag, WorkKind};

#[derive(Default)]
pub(super) struct State {
    entries: HashMap<u64, Entry>,
    last_id: u64,
    /// How many entries are tasks or child scopes.
    abortable: usize,
    pub(super) supervise: bool,
    pub(super) draining: bool,
    /// See the invariant 2.
    pub(super) closed: bool,
    /// See the invariant 3.
    pub(super) in_parent: Option<Ticket>,
    pub(super) tally: Tally,
}

/// One piece of work.
pub(super) enum Entry {
    Work {
        tag: Tag,
        abort: Option<AbortHandle>,
    },
    /// A child scope that has work.
    Child(Weak<Shared>),
}

impl State {
    pub(super) fn insert(&mut self, entry: Entry) -> u64 {
        self.last_id += 1;
        self.abortable += usize::from(entry.is_abortable());
        self.entries.insert(self.last_id, entry);
        self.last_id
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.entries.remove(&id);
        self.abortable -= usize::from(entry.as_ref().is_some_and(Entry::is_abortable));
        entry
    }

    pub(super) fn in_order(&self) -> impl Iterator<Item = &Entry> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_unstable_by_key(|(id, _)| **id);
        entries.into_iter().map(|(_, entry)| entry)
    }

    /// Keeps the means to abort a task, if it is still there.
    pub(super) fn set_abort(&mut self, id: u64, handle: AbortHandle) {
        if let Some(Entry::Work { abort, .. }) = self.entries.get_mut(&id) {
            *abort = Some(handle);
        }
    }

    /// The means to abort all tasks, and the child scopes with their own.
    pub(super) fn give_up(&mut self) -> (Vec<AbortHandle>, Vec<Arc<Shared>>) {
        self.closed = true;
        let aborts = self.entries.values().filter_map(Entry::abort).collect();
        (aborts, self.entries.values().filter_map(Entry::child).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Closes the scope if no work is left. Returns whether none is.
    pub(super) fn close_if_empty(&mut self) -> bool {
        self.closed |= self.is_empty();
        self.is_empty()
    }

    /// Whether nothing is left that an abort could take away.
    pub(super) fn is_aborted(&self) -> bool {
        self.abortable == 0
    }
}

impl Entry {
    fn is_abortable(&self) -> bool {
        match self {
            Self::Work { tag, .. } => tag.kind == WorkKind::Task,
            Self::Child(_) => true,
        }
    }

    fn abort(&self) -> Option<AbortHandle> {
        match self {
            Self::Work { abort, .. } => abort.clone(),
            Self::Child(_) => None,
        }
    }

    fn child(&self) -> Option<Arc<Shared>> {
        match self {
            Self::Work { .. } => None,
            Self::Child(child) => child.upgrade(),
        }
    }
}
