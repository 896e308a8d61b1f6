//! How many allocations things take at most: rows 42 and E7 of `go_conformance/LIST.md`.
//!
//! What is counted is the whole process, so that this is the only test of its binary.

use std::alloc::System;
use std::fmt;
use std::time::Duration;

use downhaul_context::{Canceller, Context, RequestId, ResultExt, Scope, Traced};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The fewest of some rounds: what is set up once, and what the harness does, is not counted.
fn allocations<T>(mut act: impl FnMut() -> T) -> usize {
    let round = |_| {
        let region = Region::new(ALLOCATOR);
        let made = act();
        let counted = region.change().allocations;
        drop(made);
        counted
    };
    (0..20).map(round).min().expect("20 rounds")
}

/// Go's shape: make it, end it if it does not end by itself, and wait.
fn ended(runtime: &Runtime, made: (Context, Canceller), is_cancelled: bool) -> Canceller {
    let (ctx, canceller) = made;
    if is_cancelled {
        canceller.cancel();
    }
    runtime.block_on(ctx.done());
    canceller
}

/// A result that passes two layers, with values.
fn layered(ctx: &Context, result: Result<u64, fmt::Error>) -> Result<u64, Traced<fmt::Error>> {
    let result = result.layer(ctx, "repo.find").kv("order", 7).kv_secret("token", "s3cret");
    result.map_kind(|error| error).layer(ctx, "orders.get").kv("user_id", "u-42")
}

#[test]
fn nothing_allocates_more_than_its_ceiling() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let (root, _root) = Context::root();
    let timed = |nanos| root.with_timeout(Duration::from_nanos(nanos));
    let scope = Scope::new(&root, "scope");

    // Go: 0, for all share one. Ours is a context like others.
    assert_eq!(allocations(Context::background), 1);
    // Go: 3.
    let bound = || {
        let ctx = root.with_value(7_u64);
        assert_eq!(ctx.value(), Some(&7_u64));
        ctx
    };
    assert_eq!(allocations(bound), 1);
    // Go: 3 each.
    assert_eq!(allocations(|| root.with_values((7_u64, 7_u32, 7_u16))), 1);
    // With the place for an index, which each fourth link has.
    let three = root.with_value(1_u8).with_value(2_u8).with_value(3_u8);
    assert_eq!(allocations(|| three.with_value(4_u8)), 2);
    // Go: 12. The second is the cause, with budget and place.
    assert_eq!(allocations(|| ended(&runtime, timed(1), false)), 2);
    // Go: 5.
    assert_eq!(allocations(|| ended(&runtime, root.child(), true)), 1);
    // Go: 8.
    assert_eq!(allocations(|| ended(&runtime, timed(5_000_000), true)), 1);
    // anyhow: 0, and 1 for the error alone. Ours has the request's circumstances, too.
    let request = root.with_value(RequestId::generate());
    assert_eq!(allocations(|| layered(&request, Ok(7))), 0);
    assert_eq!(allocations(|| Err::<(), _>(fmt::Error).layer(&request, "repo.find")), 1);
    // swansong: 0.
    assert_eq!(allocations(|| scope.hold("hold")), 0);
}
