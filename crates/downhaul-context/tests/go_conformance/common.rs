//! What the tests of several groups need.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use downhaul_context::{Canceller, CauseKind, Context, Level, Reason};
use tokio_util::sync::CancellationToken;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Go's `Done` and `Err` before the end: nothing has fired.
#[track_caller]
pub(crate) fn assert_live(ctx: &Context) {
    assert_eq!(ctx.level(), Level::Live);
    assert!(ctx.check().is_ok() && ctx.cause().is_none());
    assert!(poll_once(ctx.done()).is_pending());
    assert!(poll_once(ctx.draining()).is_pending());
}

/// Go's `Done`, `Err` and `Cause` after the end: all of them agree.
#[track_caller]
pub(crate) fn assert_ended(ctx: &Context, kind: CauseKind) {
    assert!(ctx.is_done() && ctx.is_draining());
    assert_eq!(ctx.check().map_err(|cause| cause.kind()), Err(kind));
    let Poll::Ready(cause) = poll_once(ctx.done()) else { panic!("it has ended") };
    assert_eq!(cause.kind(), kind);
    assert!(poll_once(ctx.draining()).is_ready());
}

/// The cause as a line, with the place in the code: what is equal here is the same cause.
pub(crate) fn why(ctx: &Context) -> Option<String> {
    ctx.cause().map(|cause| cause.to_string())
}

/// How many contexts are known below `ctx`.
pub(crate) fn known_below(ctx: &Context) -> usize {
    ctx.snapshot().entries().len() - 1
}

/// How many wait on `ctx` itself.
pub(crate) fn waiters(ctx: &Context) -> usize {
    ctx.snapshot().entries()[0].waiters
}

/// A root that knows all its descendants.
pub(crate) fn observed_root() -> (Context, Canceller) {
    Context::background().derive().observed().build()
}

/// A child of `parent` and of a context of another library: Go's custom context.
pub(crate) fn under_token(parent: &Context, token: &CancellationToken) -> (Context, Canceller) {
    let cancelled = token.clone().cancelled_owned();
    parent.child_until(async {
        cancelled.await;
        Reason::cancelled("by the token")
    })
}

pub(crate) fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut TaskContext::from_waker(Waker::noop()))
}

/// A waker that counts.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn poll<F: Future>(self: &Arc<Self>, future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut TaskContext::from_waker(&Waker::from(Arc::clone(self))))
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Runs a future on this thread, without a runtime.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut TaskContext::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Random numbers that can be had again.
pub(crate) struct Dice(u64);

impl Dice {
    /// The seed is that of `DOWNHAUL_SEED`, or a fresh one. A test that fails shows it.
    pub(crate) fn new() -> Self {
        let given = std::env::var("DOWNHAUL_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0));
        println!("DOWNHAUL_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn of(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn seed(&self) -> u64 {
        self.0
    }

    /// A number from 0 to `end`, without `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as usize % end
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
