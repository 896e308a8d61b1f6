//! [`Link`]: the values bound by one call, and what is behind them.

use std::any::{Any, TypeId};

use crate::opted_in::OptedIn;
use crate::values::Values;
use crate::values::bundle::{Bundle, One};

/// The values bound by one call, and what is behind them.
pub(super) struct Link<B: ?Sized = dyn Bundle> {
    pub(super) types: &'static [TypeId],
    pub(super) show: Option<Show>,
    /// Which link it is after a milestone, from 1.
    pub(super) nth: u32,
    pub(super) next: Values,
    pub(super) bundle: B,
}

/// How to print and send a single value that opted in.
pub(super) type Show = fn(&dyn Any) -> Option<OptedIn<'_>>;

impl Link {
    /// The value, if it is a single one and of that type.
    #[inline]
    pub(super) fn single<T: Any + Send + Sync>(&self) -> Option<&T> {
        let bundle: &dyn Any = &self.bundle;
        bundle.downcast_ref().map(|One(value)| value)
    }

    /// The value of one of its types.
    pub(super) fn find(&self, wanted: &TypeId) -> Option<&dyn Any> {
        match self.types {
            [_] => Some(&self.bundle),
            _ => self.bundle.find(wanted),
        }
    }

    pub(super) fn opted_in(&self) -> Option<OptedIn<'_>> {
        self.show?(&self.bundle)
    }
}

/// By a loop: a chain may be longer than the stack is deep. A link that somebody else lets go of at
/// the same moment goes by its own drop, wherever that is.
impl<B: ?Sized> Drop for Link<B> {
    fn drop(&mut self) {
        let mut own = self.next.take_own();
        while let Some(values) = own {
            own = values.step();
        }
    }
}
