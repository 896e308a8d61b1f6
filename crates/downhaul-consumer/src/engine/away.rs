//! [`Away`]: whether a source that is open waits for its broker.

use std::sync::Arc;
use std::time::SystemTime;

use crate::error::BrokerError;
use crate::lifecycle::Link;

/// Since when the broker of an open source is away, and why, if it is.
#[derive(Default)]
pub(crate) struct Away(Option<(SystemTime, Arc<str>)>);

impl Away {
    /// Notes that it is, and tells that once.
    pub(crate) fn begin(&mut self, consumer: &str, error: &BrokerError) {
        let error = error.chain();
        match &mut self.0 {
            Some((_, before)) => *before = Arc::from(error),
            None => {
                tracing::warn!(consumer, error, "the broker does not answer");
                self.0 = Some((SystemTime::now(), Arc::from(error)));
            }
        }
    }

    /// Notes that it is not any more, and tells that where it was told that it is.
    pub(crate) fn end(&mut self, consumer: &str) {
        if self.0.take().is_some() {
            tracing::info!(consumer, "the broker answers again");
        }
    }

    pub(crate) fn since(&self) -> Option<SystemTime> {
        self.0.as_ref().map(|(since, _)| *since)
    }

    /// How the link is seen while the source is there.
    pub(crate) fn link(&self) -> Link {
        match &self.0 {
            Some((since, error)) => {
                Link::Recovering { since: *since, attempt: 0, error: Arc::clone(error) }
            }
            None => Link::Up,
        }
    }
}
