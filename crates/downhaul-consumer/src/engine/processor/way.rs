//! [`Way`]: a way out for messages that have failed, and whether it is open.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{PublishError, chain};
use crate::message::Name;

/// A way out for messages that have failed. Says once that it is closed, however many messages come
/// to it, and once that it is open again.
#[derive(Debug)]
pub(crate) struct Way {
    /// Where it leads.
    whither: &'static str,
    is_closed: AtomicBool,
}

impl Way {
    pub(crate) fn to(whither: &'static str) -> Self {
        Self { whither, is_closed: AtomicBool::new(false) }
    }

    /// Notes whether a message got through.
    pub(super) fn note(&self, queue: &Name, message: &str, failed: Option<&PublishError>) {
        let (queue, whither) = (queue.as_str(), self.whither);
        let was_closed = self.is_closed.swap(failed.is_some(), Ordering::Relaxed);
        match failed.map(|error| chain(error)) {
            Some(error) if was_closed => {
                tracing::debug!(queue, message, error, "still cannot move to {whither}");
            }
            Some(error) => {
                tracing::error!(queue, message, error, "cannot move to {whither}, trying again");
            }
            None if was_closed => tracing::info!(queue, message, "can move to {whither} again"),
            None => {}
        }
    }
}
