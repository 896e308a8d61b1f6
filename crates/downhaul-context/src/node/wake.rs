//! Who waits, and how all of them hear of a change: the node's invariants 3 to 6.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::task::Waker;

use super::links::Links;
use super::{Node, UNLINKED, WATCHED};
use crate::sync::{MutexGuard, Ordering};

impl Node {
    /// Wakes all who wait on this node or below it: parents first, in the order in which they came.
    pub(super) fn notify(self: &Arc<Self>) {
        let (mut wakers, mut queue) = (Vec::new(), VecDeque::new());
        let mut next = Some(Arc::clone(self));
        while let Some(node) = next {
            node.links().collect(&mut wakers, &mut queue);
            // Invariant 5: outside the lock.
            wakers.drain(..).for_each(Waker::wake);
            next = queue.pop_front();
        }
    }

    /// Registers `waker` to be woken once at the next change of level. The caller looks at the
    /// level afterwards.
    pub(crate) fn register(self: &Arc<Self>, key: Option<usize>, waker: &Waker) -> usize {
        self.watch();
        let key = self.put_waiter(key, waker);
        // Invariant 4: the whole way up, even where a node is linked already, since whoever linked
        // it may not have come to its ancestors yet.
        let mut node = self;
        while let Some(parent) = &node.parent {
            node.link_to(parent);
            node = parent;
        }
        key
    }

    fn link_to(self: &Arc<Self>, parent: &Self) {
        if self.link.load(Ordering::Acquire) != UNLINKED {
            return;
        }
        parent.watch();
        let mut links = parent.links();
        if self.link.load(Ordering::Relaxed) == UNLINKED {
            let key = links.add_child(Arc::downgrade(self));
            self.link.store(key, Ordering::Release);
        }
    }

    pub(crate) fn unregister(&self, key: usize) {
        let waker = self.links().remove_waiter(key);
        drop(waker);
    }

    fn put_waiter(&self, key: Option<usize>, waker: &Waker) -> usize {
        let Some(key) = key else {
            let waker = waker.clone();
            return self.links().add_waiter(waker);
        };
        let known = self.links().would_wake(key, waker);
        if !known {
            let waker = waker.clone();
            let stale = self.links().replace_waiter(key, waker);
            drop(stale);
        }
        key
    }

    fn watch(&self) {
        if !self.has(WATCHED) {
            self.raise(WATCHED);
        }
    }

    /// Unlinks from the parent, which is not needed any more.
    pub(super) fn leave(&mut self) -> Option<Arc<Self>> {
        let parent = self.parent.take()?;
        let key = self.link.load(Ordering::Relaxed);
        if key != UNLINKED {
            parent.links().remove_child(key);
        }
        Some(parent)
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        // Nothing that can panic runs under the lock, so a poisoned one is still whole.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
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
        let root = Node::root(site);
        let middle = Node::child(&root, None, None, site);
        let leaf = Node::child(&middle, None, None, site);
        let key = leaf.register(None, Waker::noop());
        leaf.unregister(key);
        assert_eq!(leaf.links().add_waiter(Waker::noop().clone()), key);
        drop(leaf);
        assert_eq!(middle.links().add_child(Weak::new()), 0);
        // The middle one goes with its last child, not with its handle.
        let leaf = Node::child(&middle, None, None, site);
        drop((middle, leaf));
        assert_eq!(root.links().add_child(Weak::new()), 0);
    }
}
