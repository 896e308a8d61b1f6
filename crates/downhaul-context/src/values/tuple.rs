//! [`ValueTuple`]: values that are bound together.

use std::any::{Any, TypeId};
use std::sync::Arc;

use crate::context::Context;
use crate::values::bundle::{Bundle, One};

/// Values that [`Context::with_values`] takes: a tuple of one to eight, each found by its own type.
///
/// It cannot be implemented for anything else.
pub trait ValueTuple: sealed::Tuple {}

impl<T: sealed::Tuple> ValueTuple for T {}

mod sealed {
    use crate::context::Context;

    #[allow(unnameable_types, reason = "nobody else is to implement it")]
    pub trait Tuple {
        fn bind(self, ctx: &Context) -> Context;
    }
}

/// One alone is bound as by [`Context::with_value`].
impl<T: Any + Send + Sync> sealed::Tuple for (T,) {
    fn bind(self, ctx: &Context) -> Context {
        ctx.with_value(self.0)
    }
}

struct Several<T>(T);

macro_rules! tuple {
    ($($name:ident)*) => {
        impl<$($name: Any + Send + Sync),*> sealed::Tuple for ($($name,)*) {
            #[allow(non_snake_case, reason = "a type's name is its value's, too")]
            fn bind(self, ctx: &Context) -> Context {
                let ($($name,)*) = self;
                let values = ctx.values.with_bundle(Several(($(One($name),)*)), None);
                Context { node: Arc::clone(&ctx.node), values }
            }
        }

        impl<$($name: Any + Send + Sync),*> Bundle for Several<($(One<$name>,)*)> {
            fn types(&self) -> &'static [TypeId] {
                const { &[$(One::<$name>::ID),*] }
            }

            #[allow(non_snake_case, reason = "a type's name is its value's, too")]
            fn find(&self, wanted: &TypeId) -> Option<&dyn Any> {
                let Self(($($name,)*)) = self;
                // Of one type the last is the nearest, as if each had been bound after the other.
                let mut found = None;
                $(found = $name.find(wanted).or(found);)*
                found
            }
        }
    };
}

tuple!(A B);
tuple!(A B C);
tuple!(A B C D);
tuple!(A B C D E);
tuple!(A B C D E F);
tuple!(A B C D E F G);
tuple!(A B C D E F G H);
