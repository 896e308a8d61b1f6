//! The types of the routers that were made, which differ in their states.
//!
//! Who is generic over services cannot ask the type system whether one is a router.

use std::any::TypeId;
use std::sync::{PoisonError, RwLock};

static TYPES: RwLock<Vec<TypeId>> = RwLock::new(Vec::new());

/// Notes that `T` is a router.
pub(super) fn add<T: 'static>() {
    let id = TypeId::of::<T>();
    let mut types = TYPES.write().unwrap_or_else(PoisonError::into_inner);
    if !types.contains(&id) {
        types.push(id);
    }
}

/// Whether a service is a router, and nothing around one.
pub(crate) fn is_router<T: 'static>() -> bool {
    TYPES.read().unwrap_or_else(PoisonError::into_inner).contains(&TypeId::of::<T>())
}
