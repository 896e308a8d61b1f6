//! Who waits, and how all of them hear of a change: the node's invariants 3 to 6.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use super::state::State;
use super::{CALLS_BACK, Node, UNLINKED};
use crate::sync::{MutexGuard, Ordering};
use crate::waking::Waking;

impl Node {
    /// Wakes all who wait on this node, which has changed, or below it: parents first, in the order
    /// in which they came. Gives its lock back first. Panics with the first waker that did, when
    /// all are woken.
    pub(super) fn notify(&self, state: MutexGuard<'_, State>) {
        let mut waking = Waking::default();
        if Self::wake_first(state, &mut waking) {
            self.notify_others(&mut waking);
        }
        waking.done();
    }

    /// Returns whether there are others.
    #[inline]
    fn wake_first(mut state: MutexGuard<'_, State>, waking: &mut Waking) -> bool {
        let first = state.links.take_first();
        let has_others = state.links.has_others();
        // Invariant 5.
        drop(state);
        if let Some(waker) = first {
            waking.wake(waker);
        }
        has_others
    }

    #[cold]
    fn notify_others(&self, waking: &mut Waking) {
        // Invariant 6.
        let mut queue = VecDeque::new();
        self.notify_one_level(&mut queue, waking);
        while let Some(node) = queue.pop_front() {
            node.notify_one_level(&mut queue, waking);
        }
    }

    /// Wakes all but the first who wait on this node, and the first of each child's. The children
    /// that have others too go into the queue.
    fn notify_one_level(&self, queue: &mut VecDeque<Arc<Self>>, waking: &mut Waking) {
        self.wake_others(waking);
        let (mut children, mut from, mut more) = (Vec::new(), 0, true);
        while more {
            // Who comes while the lock is free finds that the node has changed.
            more = self.lock().links.next_children(&mut from, &mut children);
            let wake = |child: &Arc<Self>| Self::wake_first(child.lock(), waking);
            queue.extend(children.drain(..).filter(wake));
        }
    }

    fn wake_others(&self, waking: &mut Waking) {
        let mut others = Vec::new();
        self.lock().links.take_others(&mut others);
        others.into_iter().for_each(|waker| waking.wake(waker));
    }

    /// Wakes the callbacks of this node, which has ended: of what time alone brought they have not
    /// heard if their timer has not rung yet, and will not if there is none.
    pub(super) fn call_back(&self) {
        let mut waking = Waking::default();
        if self.may_call_back() && Self::wake_first(self.lock(), &mut waking) {
            self.wake_others(&mut waking);
        }
        waking.done();
    }

    /// Registers `waker` to be woken once at the next change of level. The caller looks at the
    /// level afterwards.
    pub(crate) fn register(self: &Arc<Self>, key: Option<u32>, waker: &Waker) -> u32 {
        let key = self.put_waiter(key, waker);
        self.link_all_the_way();
        key
    }

    /// Invariant 3.
    pub(super) fn link_all_the_way(self: &Arc<Self>) {
        self.all_the_way_up(
            |node| node.is_rooted.load(Ordering::Acquire),
            Self::link_to_parent,
            |node| node.is_rooted.store(true, Ordering::Release),
        );
    }

    /// Whoever ends this node has somebody to tell, also where nobody has a handle to it.
    pub(crate) fn note_callback(&self) {
        self.note(CALLS_BACK);
    }

    pub(crate) fn may_call_back(&self) -> bool {
        self.has_noted(CALLS_BACK)
    }

    fn link_to_parent(self: &Arc<Self>) {
        let Some(parent) = &self.parent else { return };
        let mut state = parent.lock();
        if self.link.load(Ordering::Relaxed) == UNLINKED {
            let key = state.links.add_child(Arc::downgrade(self));
            self.link.store(key, Ordering::Relaxed);
        }
    }

    pub(crate) fn unregister(&self, key: u32) {
        let waker = self.lock().links.remove_waiter(key);
        drop(waker);
    }

    fn put_waiter(&self, key: Option<u32>, waker: &Waker) -> u32 {
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

    #[test]
    fn who_links_a_node_that_another_has_just_linked_adds_nothing() {
        let root = Node::tree(Location::caller());
        let leaf = Node::child(&root, None, None, Location::caller());
        // Two who wait at the same time both find it not rooted yet.
        leaf.link_to_parent();
        leaf.link_to_parent();
        drop(leaf);
        assert!(root.lock().links.is_empty());
    }
}
