//! Typed values: one binding a link, inherited by pointer, shadowed by nearer ones.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, OnceLock};

use crate::opted_in::{OptedIn, WireValue, opt_in};

/// Every link of this depth, but the last, has an index of all that is behind it. So a look goes
/// along a few links at most, and the index of what a service binds serves all its requests.
const STRIDE: usize = 4;

/// A chain of bindings, nearest first.
#[derive(Clone, Default)]
pub(crate) struct Values(Option<Arc<Link>>);

type Value = dyn Any + Send + Sync;

struct Link<V: ?Sized = Value> {
    bound: TypeId,
    /// How many links are behind it.
    depth: usize,
    /// How to print and send the value, where it opted in.
    opted_in: Option<fn(&Value) -> Option<OptedIn<'_>>>,
    next: Option<Arc<Link>>,
    /// Made by the first look that comes here.
    index: OnceLock<Index>,
    value: V,
}

/// The nearest link of each type.
type Index = HashMap<TypeId, Arc<Link>, BuildHasherDefault<PassThrough>>;

impl Values {
    pub(crate) fn with<T: Any + Send + Sync>(&self, value: T) -> Self {
        self.link(value, None)
    }

    pub(crate) fn with_opted_in<T: WireValue>(&self, value: T) -> Self {
        self.link(value, Some(|value| value.downcast_ref().map(opt_in::<T>)))
    }

    fn link<T: Any + Send + Sync>(
        &self,
        value: T,
        opted_in: Option<fn(&Value) -> Option<OptedIn<'_>>>,
    ) -> Self {
        let (bound, next) = (TypeId::of::<T>(), self.0.clone());
        let depth = next.as_ref().map_or(0, |next| next.depth + 1);
        let index = OnceLock::new();
        Self(Some(Arc::new(Link { bound, depth, opted_in, next, index, value })))
    }

    pub(crate) fn get<T: Any>(&self) -> Option<&T> {
        let wanted = TypeId::of::<T>();
        let mut link = self.0.as_deref()?;
        while link.bound != wanted {
            link = if link.is_indexed() {
                link.index().get(&wanted)?
            } else {
                link.next.as_deref()?
            };
        }
        link.value.downcast_ref()
    }

    /// Calls `each` for every binding that opted in and is not shadowed, nearest first.
    pub(crate) fn each_opted_in<'a>(&'a self, mut each: impl FnMut(OptedIn<'a>)) {
        let mut seen: Vec<TypeId> = Vec::new();
        let mut link = self.0.as_deref();
        while let Some(here) = link {
            if !seen.contains(&here.bound) {
                seen.push(here.bound);
                let opted_in = here.opted_in.and_then(|opted_in| opted_in(&here.value));
                opted_in.into_iter().for_each(&mut each);
            }
            link = here.next.as_deref();
        }
    }
}

impl<V: ?Sized> Link<V> {
    /// Lets go of all that is behind. The index goes first: it has the links too.
    fn leave(&mut self) -> Option<Arc<Link>> {
        self.index.take();
        self.next.take()
    }
}

impl Link {
    fn is_indexed(&self) -> bool {
        self.depth.is_multiple_of(STRIDE) && self.depth > 0
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| {
            let mut index = Index::default();
            let mut link = self.next.as_ref();
            while let Some(here) = link {
                index.entry(here.bound).or_insert_with(|| Arc::clone(here));
                link = here.next.as_ref();
            }
            index
        })
    }
}

/// Drops iteratively: a chain as long as memory allows must not overflow the stack. A link that
/// somebody else lets go of at the same moment goes by its own drop, wherever that is.
impl<V: ?Sized> Drop for Link<V> {
    fn drop(&mut self) {
        let mut next = self.leave();
        while let Some(mut link) = next {
            next = Arc::get_mut(&mut link).and_then(Link::leave);
        }
    }
}

/// The id of a type is a hash already.
#[derive(Default)]
struct PassThrough(u64);

impl Hasher for PassThrough {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As when two threads let go at once: the first finds that it is not the last, and the second
    /// only drops the link.
    #[test]
    fn a_long_chain_goes_without_recursion_whoever_drops_its_last_link() {
        let length: u32 = if cfg!(miri) { 200 } else { 200_000 };
        let values = (0..length).fold(Values::default(), |values, n| values.with(n));
        let last = values.0.clone();
        drop(values);
        drop(last);
    }
}
