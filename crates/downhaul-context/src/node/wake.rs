//! Who waits, and how all of them hear of a change: the node's invariants 3 to 6.

use std::sync::Arc;
use std::task::Waker;

use super::links::Queue;
use super::state::State;
use super::{Node, ROOTED, UNLINKED};
use crate::sync::{MutexGuard, Ordering};

/// Wakes all who wait on a node that has changed, or below it: parents first, in the order in which
/// they came. Gives its lock back first.
pub(super) fn notify(mut state: MutexGuard<'_, State>) {
    let first = state.links.take_first();
    let (mut others, mut queue) = (Vec::new(), Queue::new());
    let has_others = state.links.has_others();
    if has_others {
        state.links.take_others(&mut others, &mut queue);
    }
    // Invariant 5.
    drop(state);
    if let Some(waker) = first {
        waker.wake();
    }
    if has_others {
        notify_others(others, queue);
    }
}

#[cold]
fn notify_others(mut others: Vec<Waker>, mut queue: Queue) {
    others.drain(..).for_each(Waker::wake);
    while let Some(node) = queue.pop_front() {
        let mut state = node.lock();
        let first = state.links.take_first();
        state.links.take_others(&mut others, &mut queue);
        drop(state);
        if let Some(waker) = first {
            waker.wake();
        }
        others.drain(..).for_each(Waker::wake);
    }
}

impl Node {
    /// Registers `waker` to be woken once at the next change of level. The caller looks at the
    /// level afterwards.
    pub(crate) fn register(self: &Arc<Self>, key: Option<usize>, waker: &Waker) -> usize {
        let key = self.put_waiter(key, waker);
        self.link_all_the_way();
        key
    }

    /// Invariant 3.
    pub(super) fn link_all_the_way(self: &Arc<Self>) {
        self.all_the_way_up(ROOTED, Self::link_to_parent);
    }

    /// Whether somebody waits, or has waited, on this node or below it.
    pub(crate) fn is_watched(&self) -> bool {
        self.has(ROOTED)
    }

    fn link_to_parent(self: &Arc<Self>) {
        let Some(parent) = &self.parent else { return };
        let mut state = parent.lock();
        if self.link.load(Ordering::Relaxed) == UNLINKED {
            let key = state.links.add_child(Arc::downgrade(self));
            self.link.store(key, Ordering::Relaxed);
        }
    }

    pub(crate) fn unregister(&self, key: usize) {
        let waker = self.lock().links.remove_waiter(key);
        drop(waker);
    }

    fn put_waiter(&self, key: Option<usize>, waker: &Waker) -> usize {
        let Some(key) = key else {
            let waker = waker.clone();
            return self.lock().links.add_waiter(waker);
        };
        let known = self.lock().links.would_wake(key, waker);
        if !known {
            let waker = waker.clone();
            let stale = self.lock().links.replace_waiter(key, waker);
            drop(stale);
        }
        key
    }

    /// Unlinks from the parent, which is not needed any more.
    pub(super) fn leave(&mut self) -> Option<Arc<Self>> {
        let parent = self.parent.take()?;
        let key = self.link.load(Ordering::Relaxed);
        if key != UNLINKED {
            let unlinked = parent.lock().links.remove_child(key);
            drop(unlinked);
        }
        Some(parent)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::Location;
    use std::sync::Weak;

    use super::*;

    #[test]
    fn a_branch_that_goes_frees_its_places_in_the_links() {
        let site = Location::caller();
        let root = Node::tree(site);
        let middle = Node::child(&root, None, None, site);
        let leaf = Node::child(&middle, None, None, site);
        let key = leaf.register(None, Waker::noop());
        leaf.unregister(key);
        assert_eq!(leaf.lock().links.add_waiter(Waker::noop().clone()), key);
        drop(leaf);
        assert_eq!(middle.lock().links.add_child(Weak::new()), 0);
        // The middle one goes with its last child, not with its handle.
        let leaf = Node::child(&middle, None, None, site);
        drop((middle, leaf));
        assert_eq!(root.lock().links.add_child(Weak::new()), 0);
    }
}
