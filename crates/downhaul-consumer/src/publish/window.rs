//! [`Window`]: how much a publisher may have under way.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Bounds what was sent and not answered yet, by number and by bytes.
#[derive(Clone, Debug)]
pub(crate) struct Window(Arc<Bounds>);

#[derive(Debug)]
struct Bounds {
    messages: Semaphore,
    most_messages: u32,
    bytes: Semaphore,
    most_bytes: u32,
}

/// A message's place, free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    bounds: Arc<Bounds>,
    bytes: u32,
}

impl Window {
    pub(crate) fn new(messages: usize, bytes: usize) -> Self {
        // Where addresses have 32 bits, a semaphore holds less than a `u32`.
        let bounded = |count: usize| {
            u32::try_from(count.clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX)
        };
        let (most_messages, most_bytes) = (bounded(messages), bounded(bytes));
        let semaphore = |count: u32| Semaphore::new(count as usize);
        let (messages, bytes) = (semaphore(most_messages), semaphore(most_bytes));
        Self(Arc::new(Bounds { messages, most_messages, bytes, most_bytes }))
    }

    /// Waits for a place. A message that is larger than all there is takes all there is.
    pub(crate) async fn enter(&self, bytes: usize) -> Option<Place> {
        let bytes = self.bounded(bytes);
        let message = self.0.messages.acquire().await.ok()?;
        let room = self.0.bytes.acquire_many(bytes).await.ok()?;
        Some(self.place(message, room, bytes))
    }

    /// A place, if one is free and nobody waits for it.
    pub(crate) fn try_enter(&self, bytes: usize) -> Option<Place> {
        let bytes = self.bounded(bytes);
        let message = self.0.messages.try_acquire().ok()?;
        let room = self.0.bytes.try_acquire_many(bytes).ok()?;
        Some(self.place(message, room, bytes))
    }

    /// One that goes by one count of the window where two permits would have two.
    fn place(&self, message: SemaphorePermit<'_>, room: SemaphorePermit<'_>, bytes: u32) -> Place {
        message.forget();
        room.forget();
        Place { bounds: Arc::clone(&self.0), bytes }
    }

    /// What a message takes of the bytes: an empty one a byte, so that it waits for its turn.
    fn bounded(&self, bytes: usize) -> u32 {
        u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.0.most_bytes)
    }

    /// Waits until all that entered before is answered. What comes later waits meanwhile.
    pub(crate) async fn empty(&self) {
        drop(self.0.messages.acquire_many(self.0.most_messages).await);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.bounds.bytes.add_permits(self.bytes as usize);
        self.bounds.messages.add_permits(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_window_is_never_the_smaller_one() {
        let counts = [0, 1, 1_000, u32::MAX as usize / 2, u32::MAX as usize, usize::MAX];
        let windows = counts.map(|count| Window::new(count, count).0);
        let sizes = windows.map(|bounds| (bounds.most_messages, bounds.most_bytes));
        assert!(sizes.is_sorted(), "{sizes:?}");
    }
}
