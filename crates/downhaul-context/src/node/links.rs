//! Who wants to hear of a node's change of level: waiters on it, and children that are waited on.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Weak};
use std::task::Waker;

use slab::Slab;

use crate::node::Node;

/// The key of the waiter that is kept in [`Links`] itself.
const FIRST: usize = 0;

/// Wakers are never cloned, run or dropped in here, since all of this happens under a lock: they
/// come in and go out.
///
/// A waiter that was woken keeps its key until it goes. In its place stands a waker that does
/// nothing.
#[derive(Default)]
pub(super) struct Links {
    /// In place, so that the only waiter on a request allocates nothing.
    first: Option<Waker>,
    others: Option<Box<Others>>,
}

#[derive(Default)]
struct Others {
    /// Their keys are one less than those given out.
    waiters: Slab<Waker>,
    children: Slab<Weak<Node>>,
}

impl Links {
    pub(super) fn add_waiter(&mut self, waker: Waker) -> usize {
        if self.first.is_none() {
            self.first = Some(waker);
            return FIRST;
        }
        self.others().waiters.insert(waker) + 1
    }

    /// Whether a change would wake `waker` by this key.
    pub(super) fn would_wake(&mut self, key: usize, waker: &Waker) -> bool {
        self.waiter(key).is_some_and(|known| known.will_wake(waker))
    }

    pub(super) fn replace_waiter(&mut self, key: usize, waker: Waker) -> Option<Waker> {
        self.waiter(key).map(|known| mem::replace(known, waker))
    }

    pub(super) fn remove_waiter(&mut self, key: usize) -> Option<Waker> {
        match key {
            FIRST => self.first.take(),
            _ => self.others.as_mut()?.waiters.try_remove(key - 1),
        }
    }

    pub(super) fn add_child(&mut self, child: Weak<Node>) -> usize {
        self.others().children.insert(child)
    }

    pub(super) fn remove_child(&mut self, key: usize) -> Option<Weak<Node>> {
        self.others.as_mut()?.children.try_remove(key)
    }

    /// Takes all wakers and a handle to each child.
    pub(super) fn collect(&mut self, wakers: &mut Vec<Waker>, nodes: &mut VecDeque<Arc<Node>>) {
        let mut take = |waker| wakers.push(mem::replace(waker, Waker::noop().clone()));
        self.first.iter_mut().for_each(&mut take);
        if let Some(others) = &mut self.others {
            others.waiters.iter_mut().for_each(|(_, waker)| take(waker));
            nodes.extend(others.children.iter().filter_map(|(_, child)| child.upgrade()));
        }
    }

    fn waiter(&mut self, key: usize) -> Option<&mut Waker> {
        match key {
            FIRST => self.first.as_mut(),
            _ => self.others.as_mut()?.waiters.get_mut(key - 1),
        }
    }

    fn others(&mut self) -> &mut Others {
        self.others.get_or_insert_default()
    }
}
