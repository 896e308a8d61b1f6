//! [`Window`]: how much a publisher may have under way.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds what was sent and not answered yet, by number and by bytes.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    messages: Arc<Semaphore>,
    most_messages: u32,
    bytes: Arc<Semaphore>,
    most_bytes: u32,
}

/// A message's place, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _message: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Window {
    pub(crate) fn new(messages: usize, bytes: usize) -> Self {
        let bounded = |count: usize| u32::try_from(count.max(1)).unwrap_or(u32::MAX >> 3);
        let (most_messages, most_bytes) = (bounded(messages), bounded(bytes));
        let semaphore = |count: u32| Arc::new(Semaphore::new(count as usize));
        let (messages, bytes) = (semaphore(most_messages), semaphore(most_bytes));
        Self { messages, most_messages, bytes, most_bytes }
    }

    /// Waits for a place. A message that is larger than all there is takes all there is.
    pub(crate) async fn enter(&self, bytes: usize) -> Option<Place> {
        let message = Arc::clone(&self.messages).acquire_owned().await.ok()?;
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(self.bounded(bytes)).await.ok()?;
        Some(Place { _message: message, _bytes: bytes })
    }

    /// A place, if one is free and nobody waits for it.
    pub(crate) fn try_enter(&self, bytes: usize) -> Option<Place> {
        let message = Arc::clone(&self.messages).try_acquire_owned().ok()?;
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(self.bounded(bytes)).ok()?;
        Some(Place { _message: message, _bytes: bytes })
    }

    /// What a message takes of the bytes: an empty one a byte, so that it waits for its turn.
    fn bounded(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.most_bytes)
    }

    /// Waits until all that entered before is answered. What comes later waits meanwhile.
    pub(crate) async fn empty(&self) {
        drop(self.messages.acquire_many(self.most_messages).await);
    }
}
