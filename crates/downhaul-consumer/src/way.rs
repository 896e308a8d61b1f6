//! [`Ways`]: what has to be done elsewhere before messages are settled, and whether it can be.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::chain;
use crate::message::Name;

/// All that there are.
#[derive(Debug)]
pub(crate) struct Ways {
    pub(crate) burying: Way,
    pub(crate) parking: Way,
    pub(crate) inbox: Way,
}

impl Ways {
    pub(crate) fn new() -> Self {
        Self {
            burying: Way::to("move messages to the dead letters"),
            parking: Way::to("move messages to their next attempt"),
            inbox: Way::to("use the inbox"),
        }
    }

    /// What cannot be done now, and why.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let ways = [&self.burying, &self.parking, &self.inbox];
        ways.into_iter().filter_map(Way::complaint).collect()
    }
}

/// A way to something that has to be done elsewhere before a message is settled. Says once that it
/// is closed, however many messages come to it, and once that it is open again.
#[derive(Debug)]
pub(crate) struct Way {
    /// What it is the way to.
    deed: &'static str,
    is_closed: AtomicBool,
    /// Why it was last.
    error: Mutex<String>,
}

impl Way {
    fn to(deed: &'static str) -> Self {
        Self { deed, is_closed: AtomicBool::new(false), error: Mutex::default() }
    }

    /// Notes whether a message got through.
    pub(crate) fn note<E: Error + 'static>(
        &self,
        queue: &Name,
        message_id: &str,
        failed: Option<&E>,
    ) {
        let (queue, deed, error) = (queue.as_str(), self.deed, failed.map(|error| chain(error)));
        if let Some(error) = &error {
            self.error.lock().unwrap_or_else(PoisonError::into_inner).clone_from(error);
        }
        let was_closed = self.is_closed.swap(error.is_some(), Ordering::Relaxed);
        match error {
            Some(error) if was_closed => {
                tracing::debug!(queue, message_id, error, "still cannot {deed}");
            }
            Some(error) => {
                tracing::error!(queue, message_id, error, "cannot {deed}, trying again");
            }
            None if was_closed => tracing::info!(queue, message_id, "can {deed} again"),
            None => {}
        }
    }

    fn complaint(&self) -> Option<String> {
        let error = || self.error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_closed = self.is_closed.load(Ordering::Relaxed);
        is_closed.then(|| format!("cannot {}: {}", self.deed, error()))
    }
}
