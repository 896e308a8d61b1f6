//! How much at a time, and how long each stage of a stop may take.

use std::time::Duration;

/// How long the settlement of one message may take: its retry, its dead letter or its emitted
/// messages. Also how long a source may take to settle a batch before it counts as dead.
pub(crate) const SETTLE: Duration = Duration::from_secs(5);

/// How long each stage of a stop may take.
#[derive(Clone, Debug)]
pub(crate) struct Budgets {
    /// From the word to stop until handlers' contexts end.
    pub(crate) drain: Duration,
    /// From there until handlers are dropped.
    pub(crate) cancel_grace: Duration,
    /// For the last settlements and the goodbye to the broker.
    pub(crate) close: Duration,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            drain: Duration::from_secs(20),
            cancel_grace: Duration::from_secs(3),
            close: Duration::from_secs(2),
        }
    }
}

impl Budgets {
    /// From the end of the handlers' contexts until what is left is abandoned.
    pub(crate) fn after_cancel(&self) -> Duration {
        self.cancel_grace.saturating_add(SETTLE)
    }
}
