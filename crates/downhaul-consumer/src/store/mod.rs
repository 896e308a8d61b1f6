//! What inboxes and outboxes share: their errors and, with feature `sqlite`, a database.

mod error;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

pub use crate::store::error::{StoreError, StoreErrorKind};
