//! [`Way`]: what has to be done elsewhere before a message is settled, and whether it can be.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::chain;
use crate::message::Name;

/// A way to something that has to be done elsewhere before a message is settled. Says once that it
/// is closed, however many messages come to it, and once that it is open again.
#[derive(Debug)]
pub(crate) struct Way {
    /// What it is the way to: "move to the dead letters".
    deed: &'static str,
    is_closed: AtomicBool,
}

impl Way {
    pub(crate) fn to(deed: &'static str) -> Self {
        Self { deed, is_closed: AtomicBool::new(false) }
    }

    /// Notes whether a message got through.
    pub(super) fn note<E: Error + 'static>(&self, queue: &Name, message: &str, failed: Option<&E>) {
        let (queue, deed) = (queue.as_str(), self.deed);
        let was_closed = self.is_closed.swap(failed.is_some(), Ordering::Relaxed);
        match failed.map(|error| chain(error)) {
            Some(error) if was_closed => {
                tracing::debug!(queue, message, error, "still cannot {deed}");
            }
            Some(error) => {
                tracing::error!(queue, message, error, "cannot {deed}, trying again");
            }
            None if was_closed => tracing::info!(queue, message, "can {deed} again"),
            None => {}
        }
    }
}
