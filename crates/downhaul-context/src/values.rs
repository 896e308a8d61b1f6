//! Typed values: one binding a link, inherited by pointer, shadowed by nearer ones.

use std::any::{Any, TypeId};
use std::sync::Arc;

use crate::opted_in::{OptedIn, WireValue, opt_in};

/// A chain of bindings, nearest first.
#[derive(Clone, Default)]
pub(crate) struct Values(Option<Arc<dyn Link>>);

impl Values {
    pub(crate) fn with<T: Any + Send + Sync>(&self, value: T) -> Self {
        Self(Some(Arc::new(Binding { value, opted_in: |_| None, next: self.0.clone() })))
    }

    pub(crate) fn with_opted_in<T: WireValue>(&self, value: T) -> Self {
        let binding = Binding { value, opted_in: opt_in::<T>, next: self.0.clone() };
        Self(Some(Arc::new(binding)))
    }

    /// Calls `each` for every binding that opted in and is not shadowed, nearest first.
    pub(crate) fn each_opted_in<'a>(&'a self, mut each: impl FnMut(OptedIn<'a>)) {
        let mut seen: Vec<TypeId> = Vec::new();
        let mut link = self.0.as_deref();
        while let Some(here) = link {
            let bound = here.value().type_id();
            if !seen.contains(&bound) {
                seen.push(bound);
                here.opted_in().into_iter().for_each(&mut each);
            }
            link = here.next();
        }
    }

    pub(crate) fn get<T: Any>(&self) -> Option<&T> {
        let mut link = self.0.as_deref();
        while let Some(here) = link {
            if here.binds(TypeId::of::<T>()) {
                return here.value().downcast_ref();
            }
            link = here.next();
        }
        None
    }
}

/// Drops iteratively: a chain as long as memory allows must not overflow the stack.
impl Drop for Values {
    fn drop(&mut self) {
        let mut link = self.0.take();
        while let Some(mut last) = link {
            link = Arc::get_mut(&mut last).and_then(Link::take_next);
        }
    }
}

trait Link: Send + Sync {
    fn binds(&self, wanted: TypeId) -> bool;
    fn value(&self) -> &dyn Any;
    fn opted_in(&self) -> Option<OptedIn<'_>>;
    fn next(&self) -> Option<&dyn Link>;
    fn take_next(&mut self) -> Option<Arc<dyn Link>>;
}

struct Binding<T> {
    value: T,
    opted_in: fn(&T) -> Option<OptedIn<'_>>,
    next: Option<Arc<dyn Link>>,
}

impl<T: Any + Send + Sync> Link for Binding<T> {
    fn binds(&self, wanted: TypeId) -> bool {
        TypeId::of::<T>() == wanted
    }

    fn value(&self) -> &dyn Any {
        &self.value
    }

    fn opted_in(&self) -> Option<OptedIn<'_>> {
        (self.opted_in)(&self.value)
    }

    fn next(&self) -> Option<&dyn Link> {
        self.next.as_deref()
    }

    fn take_next(&mut self) -> Option<Arc<dyn Link>> {
        self.next.take()
    }
}
