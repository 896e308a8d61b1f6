//! [`Bundle`]: the values of one link.

use std::any::{Any, TypeId};

/// The values of one link, each a [`One`]. Of a single type, it is that [`One`] itself.
pub(super) trait Bundle: Any + Send + Sync {
    fn types(&self) -> &'static [TypeId];

    /// The nearest [`One`] of the type.
    fn find(&self, wanted: &TypeId) -> Option<&dyn Any>;
}

/// A value as it is bound and found: its type stands for the value's.
///
/// With the ids of the values' own types, a search would compare one id, and the downcast of what
/// it found another.
pub(super) struct One<T>(pub(super) T);

impl<T: Any> One<T> {
    pub(super) const ID: TypeId = TypeId::of::<Self>();
}

impl<T: Any + Send + Sync> Bundle for One<T> {
    fn types(&self) -> &'static [TypeId] {
        const { &[Self::ID] }
    }

    fn find(&self, wanted: &TypeId) -> Option<&dyn Any> {
        (*wanted == Self::ID).then_some(self)
    }
}
