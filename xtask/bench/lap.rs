//! One run of one side: it sets up, and says what of the rest counts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::tally::{Counter, Tally};

/// Calls that come before the measured ones: a new thread has an empty cache of memory.
const WARM_UP: u32 = 64;

/// One side's turn. What a side does outside of [`run`](Self::run), [`batch`](Self::batch) and
/// [`once`](Self::once) is set-up.
pub(crate) struct Lap<'a> {
    pub(crate) turns: u32,
    pub(crate) start: &'a Start,
    pub(crate) counter: Option<Counter>,
}

/// Where all threads of a side meet before the clock starts. They spin: who slept would be late.
pub(crate) struct Start {
    missing: AtomicUsize,
}

impl Start {
    pub(crate) fn of(threads: usize) -> Self {
        Self { missing: AtomicUsize::new(threads) }
    }

    /// Each thread waits once.
    pub(crate) fn wait(&self) {
        self.missing.fetch_sub(1, Ordering::AcqRel);
        while self.missing.load(Ordering::Acquire) > 0 {
            std::hint::spin_loop();
        }
    }
}

/// What one thread of one side took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) from: Instant,
    pub(crate) spent: Duration,
    pub(crate) operations: u32,
    pub(crate) tally: Tally,
}

impl Lap<'_> {
    /// Measures `operation`, once a turn.
    pub(crate) fn run(&self, mut operation: impl FnMut()) -> Reading {
        (0..WARM_UP).for_each(|_| operation());
        self.start.wait();
        self.once(self.turns, || {
            for _ in 0..self.turns {
                operation();
            }
        })
    }

    /// Measures `work`, which is so many `operations`, once a turn on what `set_up` made for it.
    /// Neither making that nor dropping it counts.
    pub(crate) fn batch<T>(
        &self,
        operations: u32,
        mut set_up: impl FnMut() -> T,
        mut work: impl FnMut(&mut T),
    ) -> Reading {
        let mut turn = || {
            let mut prepared = set_up();
            self.once(operations, || work(&mut prepared))
        };
        // What is counted is the same in each batch.
        let turns = if self.counter.is_some() { 1 } else { self.turns };
        let first = turn();
        (1..turns).map(|_| turn()).fold(first, Reading::and)
    }

    /// Measures `work`, which is so many `operations`, a single time.
    #[expect(clippy::disallowed_methods, reason = "measuring is what this is for")]
    pub(crate) fn once(&self, operations: u32, work: impl FnOnce()) -> Reading {
        let before = self.tally();
        let from = Instant::now();
        work();
        let spent = from.elapsed();
        Reading { from, spent, operations, tally: self.tally().since(before) }
    }

    /// As [`once`](Self::once), for work that waits.
    #[expect(clippy::disallowed_methods, reason = "measuring is what this is for")]
    pub(crate) async fn once_async(&self, operations: u32, work: impl AsyncFnOnce()) -> Reading {
        let before = self.tally();
        let from = Instant::now();
        work().await;
        let spent = from.elapsed();
        Reading { from, spent, operations, tally: self.tally().since(before) }
    }

    fn tally(&self) -> Tally {
        self.counter.map_or_else(Tally::default, |counter| counter())
    }
}

impl Reading {
    pub(crate) fn until(&self) -> Instant {
        self.from + self.spent
    }

    /// Adds what came later.
    pub(crate) fn and(mut self, later: Self) -> Self {
        self.spent += later.spent;
        self.operations += later.operations;
        self.tally += later.tally;
        self
    }
    /// Adds what is in use and was not allocated.
    pub(crate) fn and_bytes(mut self, bytes: usize) -> Self {
        self.tally.allocated += bytes as u64;
        self
    }
}
