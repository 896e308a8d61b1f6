//! What an allocator has done so far.

use std::ops::AddAssign;

/// Allocations, and the bytes that were asked for and given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "whoever has an allocator fills it in")]
pub struct Tally {
    /// How often memory was asked for.
    pub allocations: u64,
    /// The bytes that were asked for.
    pub allocated: u64,
    /// The bytes that were given back.
    pub freed: u64,
}

/// Reads the tally of the process.
pub type Counter = fn() -> Tally;

impl Tally {
    /// Returns what was added since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            allocations: self.allocations - before.allocations,
            allocated: self.allocated - before.allocated,
            freed: self.freed - before.freed,
        }
    }

    /// The bytes that are still in use.
    pub(crate) fn live(self) -> f64 {
        self.allocated as f64 - self.freed as f64
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.allocations += other.allocations;
        self.allocated += other.allocated;
        self.freed += other.freed;
    }
}
