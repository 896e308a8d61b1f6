//! The one timer of tokio's that a shard keeps.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context as TaskContext, Poll, Waker};

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// Rings a bell when a moment has come, or when the runtime that would tell is shut down.
pub(super) struct Alarm {
    bell: Waker,
    /// Holds on to the runtime's parts, so it goes when nothing is to be waited for.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    pub(super) fn new(bell: Waker) -> Self {
        Self { bell, sleep: None }
    }

    /// Sets the alarm, in the current runtime if it was cleared before. Pending means that the bell
    /// will ring. Ready means that it will not: look at the clock to see whether `at` has come or
    /// whether the runtime is shut down.
    ///
    /// # Panics
    ///
    /// If the runtime is being shut down right now.
    pub(super) fn set(&mut self, at: Instant) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        // A new one too: this registers it, which without a poll cannot panic.
        sleep.as_mut().reset(at);
        if sleep.is_elapsed() {
            return Poll::Ready(());
        }
        // The task that happens to be polled here has a budget, which is not for the shard to use.
        pin!(unconstrained(sleep)).poll(&mut TaskContext::from_waker(&self.bell))
    }

    pub(super) fn clear(&mut self) {
        self.sleep = None;
    }

    #[cfg(test)]
    pub(super) fn moment(&self) -> Option<Instant> {
        self.sleep.as_ref().map(|sleep| sleep.deadline())
    }
}
