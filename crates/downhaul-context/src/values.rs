//! Typed values: links of bindings, inherited by pointer, shadowed by nearer ones.
//!
//! # Invariants
//!
//! 1. What is bound never changes. So what an index says stays true.
//! 2. Links, milestones and indexes have only links that were there before them: no cycle.
//! 3. Whoever has an index has all its links also by the chain. So a chain goes by a loop, link by
//!    link, if each milestone lets go of its index first.
//!
//! `tests/it/value_model.rs` checks the first against a naive model.

mod bundle;
mod index;
mod link;
mod milestone;
mod tuple;

use std::any::{Any, TypeId};
use std::iter;
use std::mem;
use std::sync::Arc;

use crate::opted_in::{OptedIn, WireValue, opt_in};
use crate::values::bundle::{Bundle, One};
use crate::values::link::{Link, Show};
use crate::values::milestone::Milestone;
pub use crate::values::tuple::ValueTuple;

/// Every so many links there is a milestone. So a search comes past fewer before an index.
const STRIDE: u32 = 4;

/// A chain of bindings, nearest first. It begins with a link or with a milestone, or it is empty.
#[derive(Clone, Default)]
pub(crate) struct Values {
    link: Option<Arc<Link>>,
    milestone: Option<Arc<Milestone>>,
}

impl Values {
    pub(crate) const NONE: Self = Self { link: None, milestone: None };

    pub(crate) fn with<T: Any + Send + Sync>(&self, value: T) -> Self {
        self.with_bundle(One(value), None)
    }

    pub(crate) fn with_opted_in<T: WireValue>(&self, value: T) -> Self {
        let show: Show = |bundle| bundle.downcast_ref().map(|One(value)| opt_in::<T>(value));
        self.with_bundle(One(value), Some(show))
    }

    fn with_bundle<B: Bundle>(&self, bundle: B, show: Option<Show>) -> Self {
        let nth = self.link.as_ref().map_or(1, |link| link.nth + 1);
        let link: Arc<Link> =
            Arc::new(Link { types: bundle.types(), show, nth, next: self.clone(), bundle });
        let values = Self { link: Some(link), milestone: None };
        if nth < STRIDE {
            return values;
        }
        Self { link: None, milestone: Some(Milestone::at(values)) }
    }

    /// The nearest value of the type.
    ///
    /// What is mostly asked for is found first and without a loop: the nearest value, where that is
    /// a single one, and what is in its own place of an index.
    #[inline]
    pub(crate) fn get<T: Any + Send + Sync>(&self) -> Option<&T> {
        let wanted = const { &One::<T>::ID };
        if let Some(milestone) = &self.milestone {
            if let Some(index) = milestone.index() {
                let (bound, link) = index.guess(wanted)?;
                if let Some(value) = link.single() {
                    return Some(value);
                }
                if index.is_apart() && bound != wanted {
                    return None;
                }
            }
        } else {
            let link = self.link.as_deref()?;
            if link.types.len() == 1 {
                let value = link.single();
                if value.is_some() || link.next.is_empty() {
                    return value;
                }
            }
        }
        let One(value) = self.find(wanted)?.downcast_ref()?;
        Some(value)
    }

    /// The nearest [`One`] of the type.
    #[inline(never)]
    fn find(&self, wanted: &TypeId) -> Option<&dyn Any> {
        let mut values = self;
        loop {
            while let Some(link) = &values.link {
                if link.types.contains(wanted) {
                    return link.find(wanted);
                }
                values = &link.next;
            }
            let milestone = values.milestone.as_ref()?;
            if let Some(index) = milestone.index_in_time() {
                return index.find(wanted)?.find(wanted);
            }
            values = &milestone.values;
        }
    }

    /// Calls `each` for every binding that opted in and is not shadowed, nearest first.
    pub(crate) fn each_opted_in<'a>(&'a self, mut each: impl FnMut(OptedIn<'a>)) {
        if self.links().all(|link| link.show.is_none()) {
            return;
        }
        let mut seen: Vec<TypeId> = Vec::new();
        for link in self.links() {
            for bound in link.types {
                if !seen.contains(bound) {
                    seen.push(*bound);
                    link.opted_in().into_iter().for_each(&mut each);
                }
            }
        }
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.link.is_none() && self.milestone.is_none()
    }

    /// All links, nearest first.
    fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        iter::successors(self.first(), |link| link.next.first())
    }

    fn first(&self) -> Option<&Arc<Link>> {
        self.link.as_ref().or_else(|| self.milestone.as_ref()?.values.link.as_ref())
    }

    /// Takes all, if nobody else has the first.
    fn take_own(&mut self) -> Option<Self> {
        let is_own = match (&self.link, &self.milestone) {
            (Some(link), _) => Arc::strong_count(link) == 1,
            (None, Some(milestone)) => Arc::strong_count(milestone) == 1,
            (None, None) => false,
        };
        is_own.then(|| mem::take(self))
    }

    /// Lets go of the first, and returns what nobody else has behind it.
    fn step(self) -> Option<Self> {
        match (self.link, self.milestone) {
            (Some(mut link), _) => Arc::get_mut(&mut link)?.next.take_own(),
            (None, milestone) => Arc::into_inner(milestone?).map(|milestone| milestone.values),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_that_are_many_make_an_index_and_few_do_not() {
        let values = Values::default().with(1_u8).with(2_u16).with(3_u32).with(4_u64);
        let index = || values.milestone.as_ref().and_then(|milestone| milestone.index());
        let search = || assert_eq!((values.get(), values.get::<i8>()), (Some(&1_u8), None));
        (0..30).for_each(|_| search());
        assert!(index().is_none());
        (0..2).for_each(|_| search());
        assert!(index().is_some());
    }

    /// As when two threads let go at once: the first finds that it is not the last, and the second
    /// only drops the link.
    #[test]
    fn a_long_chain_goes_without_recursion_whoever_drops_its_last_link() {
        let length: u32 = if cfg!(miri) { 200 } else { 200_000 };
        let values = (0..length).fold(Values::default(), |values, n| values.with(n));
        let last = values.clone();
        drop(values);
        drop(last);
    }
}
