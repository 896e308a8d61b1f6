//! [`Cost`]: what a stretch of work took, and [`Progress`]: where it begins and ends.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;
use tokio::time::Instant;

/// What one message took on average.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// Nanoseconds that passed.
    pub(super) time: f64,
    /// Nanoseconds that all threads of this process ran.
    pub(super) cpu: f64,
}

/// A point in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    at: Instant,
    cpu: Duration,
}

impl Moment {
    pub(super) fn now() -> Self {
        let cpu = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("Linux has this clock");
        Self { at: Instant::now(), cpu: cpu.into() }
    }

    /// What each of so many messages took from then until now.
    pub(super) fn until_now(self, messages: usize) -> Cost {
        let now = Self::now();
        let each = |spent: Duration| spent.as_nanos() as f64 / messages as f64;
        Cost { time: each(now.at - self.at), cpu: each(now.cpu.saturating_sub(self.cpu)) }
    }
}

/// Counts the messages of a round.
pub(super) struct Progress {
    left: AtomicUsize,
    first: OnceLock<Moment>,
    done: Notify,
}

impl Progress {
    pub(super) fn of(count: usize) -> Arc<Self> {
        let left = AtomicUsize::new(count);
        Arc::new(Self { left, first: OnceLock::new(), done: Notify::new() })
    }

    /// Notes a message, which must be as it was published.
    pub(super) fn note(&self, payload: &[u8]) {
        assert_eq!(payload.len(), super::PAYLOAD.len());
        if self.first.get().is_none() {
            self.first.get_or_init(Moment::now);
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }

    /// Waits for the last message.
    pub(super) async fn done(&self) {
        self.done.notified().await;
    }

    /// What each message took, from the first one until now.
    pub(super) fn cost(&self, messages: usize) -> Cost {
        self.first.get().expect("a message has come").until_now(messages)
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn who_computes_spends_cpu_and_who_waits_does_not() {
        let start = Moment::now();
        while start.until_now(1).time < 2e7 {
            black_box((0..1_000_u64).sum::<u64>());
        }
        assert!(start.until_now(1).cpu > 1e6);
    }
}
