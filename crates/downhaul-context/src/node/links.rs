//! Who wants to hear of a node's change of level: waiters on it, and children that are waited on.

use std::mem;
use std::sync::{Arc, Weak};
use std::task::Waker;

use slab::Slab;

use crate::node::Node;

/// The key of the first waiter.
const FIRST: u32 = 0;

/// How many children are looked up under one lock: few enough that all of them are still in the
/// processor's cache when their turn comes.
const BATCH: usize = 32;

/// Wakers are never cloned, run or dropped in here, since all of this happens under a lock: they
/// come in and go out.
///
/// A waiter that was woken keeps its key until it goes. In its place stands a waker that does
/// nothing.
pub(super) enum Links {
    /// In place, so that the only waiter on a request allocates nothing.
    One(Waker),
    Other(Option<Box<Many>>),
}

#[derive(Default)]
pub(super) struct Many {
    first: Option<Waker>,
    /// Their keys are one less than those given out.
    waiters: Slab<Waker>,
    children: Slab<Weak<Node>>,
}

impl Default for Links {
    fn default() -> Self {
        Self::Other(None)
    }
}

impl Links {
    pub(super) fn add_waiter(&mut self, waker: Waker) -> u32 {
        if let Self::Other(None) = self {
            *self = Self::One(waker);
            return FIRST;
        }
        let many = self.many();
        if many.first.is_none() {
            many.first = Some(waker);
            return FIRST;
        }
        as_key(many.waiters.insert(waker) + 1)
    }

    /// Whether a change would wake `waker` by this key.
    pub(super) fn would_wake(&mut self, key: u32, waker: &Waker) -> bool {
        self.waiter(key).is_some_and(|known| known.will_wake(waker))
    }

    pub(super) fn replace_waiter(&mut self, key: u32, waker: Waker) -> Option<Waker> {
        self.waiter(key).map(|known| mem::replace(known, waker))
    }

    pub(super) fn remove_waiter(&mut self, key: u32) -> Option<Waker> {
        match self {
            Self::One(_) => match mem::take(self) {
                Self::One(waker) => Some(waker),
                Self::Other(_) => None,
            },
            Self::Other(None) => None,
            Self::Other(Some(many)) => match key {
                FIRST => many.first.take(),
                _ => many.waiters.try_remove(key as usize - 1),
            },
        }
    }

    pub(super) fn add_child(&mut self, child: Weak<Node>) -> u32 {
        as_key(self.many().children.insert(child))
    }

    pub(super) fn remove_child(&mut self, key: u32) -> Option<Weak<Node>> {
        match self {
            Self::Other(Some(many)) => many.children.try_remove(key as usize),
            Self::One(_) | Self::Other(None) => None,
        }
    }

    /// Takes the first waker, which mostly is the only one.
    #[inline]
    pub(super) fn take_first(&mut self) -> Option<Waker> {
        match self {
            Self::One(waker) => Some(taken(waker)),
            Self::Other(None) => None,
            Self::Other(Some(many)) => many.first.as_mut().map(taken),
        }
    }

    /// Takes the other wakers.
    pub(super) fn take_others(&mut self, wakers: &mut Vec<Waker>) {
        let Self::Other(Some(many)) = self else { return };
        wakers.extend(many.waiters.iter_mut().map(|(_, waker)| taken(waker)));
    }

    /// Appends handles to the next children, a [`BATCH`] at most. `from` is where to go on, 0 at
    /// first. Returns whether there may be more.
    pub(super) fn next_children(&self, from: &mut usize, batch: &mut Vec<Arc<Node>>) -> bool {
        let Self::Other(Some(many)) = self else { return false };
        let end = many.children.capacity().min(*from + BATCH);
        let keys = *from..end;
        batch.extend(keys.filter_map(|key| many.children.get(key).and_then(Weak::upgrade)));
        *from = end;
        end < many.children.capacity()
    }

    pub(super) fn has_others(&self) -> bool {
        matches!(self, Self::Other(Some(_)))
    }

    pub(super) fn children(&self) -> Vec<Arc<Node>> {
        let Self::Other(Some(many)) = self else { return Vec::new() };
        many.children.iter().filter_map(|(_, child)| child.upgrade()).collect()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::One(_) => false,
            Self::Other(None) => true,
            Self::Other(Some(many)) => {
                many.first.is_none() && many.waiters.is_empty() && many.children.is_empty()
            }
        }
    }

    pub(super) fn waiters(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Other(None) => 0,
            Self::Other(Some(many)) => many.waiters.len() + usize::from(many.first.is_some()),
        }
    }

    fn waiter(&mut self, key: u32) -> Option<&mut Waker> {
        match self {
            Self::One(waker) => Some(waker),
            Self::Other(None) => None,
            Self::Other(Some(many)) => match key {
                FIRST => many.first.as_mut(),
                _ => many.waiters.get_mut(key as usize - 1),
            },
        }
    }

    fn many(&mut self) -> &mut Many {
        if let Self::One(_) = self
            && let Self::One(first) = mem::take(self)
        {
            *self = Self::Other(Some(Box::new(Many { first: Some(first), ..Many::default() })));
        }
        match self {
            Self::Other(many) => many.get_or_insert_default(),
            Self::One(_) => unreachable!("it was made one of many above"),
        }
    }
}

fn as_key(place: usize) -> u32 {
    u32::try_from(place).expect("no memory holds this many")
}

fn taken(waker: &mut Waker) -> Waker {
    mem::replace(waker, Waker::noop().clone())
}
