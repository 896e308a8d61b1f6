//! [`Seat`]: a context that all threads know.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use downhaul_context::{Canceller, Context, Level};

pub(super) struct Seat {
    pub(super) ctx: Context,
    pub(super) canceller: Option<Canceller>,
    /// Whom it is not behind.
    pub(super) parents: Vec<Context>,
    /// The highest level that anybody has seen.
    level: AtomicUsize,
    cause: OnceLock<String>,
}

impl Seat {
    pub(super) fn new(ctx: Context, canceller: Option<Canceller>, parents: Vec<Context>) -> Self {
        Self { ctx, canceller, parents, level: AtomicUsize::new(0), cause: OnceLock::new() }
    }

    /// Checks what holds at any time. A second parent tells the child of its end before the call
    /// that ends it returns, but after its own level has risen.
    pub(super) fn look(&self) {
        self.check(1);
    }

    /// Checks what holds when no call is under way.
    pub(super) fn look_in_the_quiet(&self) {
        self.check(2);
    }

    fn check(&self, parents: usize) {
        let seen = self.level.load(Ordering::SeqCst);
        let above = self.parents.iter().take(parents).map(Context::level).max();
        let level = self.ctx.level();
        assert!(level as usize >= seen, "{:?} went back from level {seen}", self.ctx);
        assert!(Some(level) >= above, "{:?} is behind its parent, which is {above:?}", self.ctx);
        self.level.fetch_max(level as usize, Ordering::SeqCst);

        let cause = self.ctx.cause().map(|cause| cause.to_string());
        assert!(level < Level::Done || cause.is_some(), "{:?} ended without a cause", self.ctx);
        if let Some(cause) = cause {
            let first = self.cause.get_or_init(|| cause.clone());
            assert_eq!(*first, cause, "the cause of {:?} has changed", self.ctx);
        }
    }
}
