//! Counts what ours and its peer allocate, and prints it as JSON.

use std::alloc::System;
use std::process::ExitCode;

use stats_alloc::StatsAlloc;
use xtask_bench::Tally;

#[global_allocator]
static ALLOCATOR: StatsAlloc<System> = StatsAlloc::system();

fn main() -> ExitCode {
    xtask_bench::count(tally)
}

fn tally() -> Tally {
    let stats = ALLOCATOR.stats();
    Tally {
        // What moves when it grows has been allocated again.
        allocations: (stats.allocations + stats.reallocations) as u64,
        allocated: stats.bytes_allocated as u64,
        freed: stats.bytes_deallocated as u64,
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    /// What a box that is dropped and one that is kept come to.
    fn boxes() -> Tally {
        let before = tally();
        drop(black_box(Box::new([0_u8; 100])));
        let kept = black_box(Box::new(0_u64));
        let between = tally().since(before);
        drop(kept);
        between
    }

    #[test]
    fn boxes_are_counted_with_their_bytes() {
        let wanted = Tally { allocations: 2, allocated: 108, freed: 100 };
        // The thread that runs the tests allocates too, but not all the time.
        assert!((0..1000).any(|_| boxes() == wanted), "{:?}", boxes());
    }
}
