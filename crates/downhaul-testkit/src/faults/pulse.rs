//! [`Pulse`]: that a queue is being worked off, and the longest time in which it was not.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Pulse {
    beats: watch::Sender<u64>,
    rest: Mutex<Rest>,
}

#[derive(Debug)]
struct Rest {
    last: Instant,
    longest: Duration,
    redelivered: u64,
}

impl Default for Pulse {
    fn default() -> Self {
        let rest = Rest { last: Instant::now(), longest: Duration::ZERO, redelivered: 0 };
        Self { beats: watch::Sender::default(), rest: Mutex::new(rest) }
    }
}

impl Pulse {
    /// A message was handled.
    pub(super) fn beat(&self, redelivered: bool) {
        let mut rest = self.rest();
        rest.longest = rest.longest.max(rest.last.elapsed());
        rest.last = Instant::now();
        rest.redelivered += u64::from(redelivered);
        drop(rest);
        self.beats.send_modify(|beats| *beats += 1);
    }

    /// How many there were.
    pub(super) fn beats(&self) -> u64 {
        *self.beats.borrow()
    }

    /// Waits until there were so many. Cancel safe.
    pub(super) async fn reaches(&self, count: u64) {
        // The sender is ours, so that the channel never closes.
        let _ = self.beats.subscribe().wait_for(|beats| *beats >= count).await;
    }

    /// The longest time without a beat since this was last asked.
    pub(super) fn take_longest_rest(&self) -> Duration {
        std::mem::take(&mut self.rest().longest)
    }

    pub(super) fn redelivered(&self) -> u64 {
        self.rest().redelivered
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
