//! What can go wrong with a store, and whether to try again.

use crate::error::{BoxError, chain};

/// Who is at fault and whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Others hold the store for longer than it waits for them. Try again.
    Busy,
    /// The runtime is shutting down.
    Closed,
    /// The store cannot be used as it is: it cannot be opened, is no database, has tables of
    /// another version. Trying again does not help.
    Configuration,
    /// It failed: a disk that is full, a link that is lost.
    Failed,
}

/// A failure of an inbox or an outbox.
///
/// After one it is unknown whether the call took effect. Its `Display` is one line without the
/// source; the text may change.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::{StoreError, StoreErrorKind};
///
/// let error = StoreError::new(StoreErrorKind::Failed, "claim an id")
///     .with_source(std::io::Error::other("disk full"));
/// assert!(!error.is_permanent());
/// assert_eq!(error.chain(), "claim an id: disk full");
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{context}")]
pub struct StoreError {
    kind: StoreErrorKind,
    context: String,
    source: Option<BoxError>,
}

impl StoreError {
    /// Makes an error of a kind that says in `context` what was tried and what to do.
    pub fn new(kind: StoreErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// Adds what lies behind it.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The kind.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Whether trying again without a change cannot help.
    pub fn is_permanent(&self) -> bool {
        self.kind == StoreErrorKind::Configuration
    }

    /// The error and all that lies behind it, on one line.
    pub fn chain(&self) -> String {
        chain(self)
    }
}
