//! What swansong tests of its futures. What it tests of guards is tested with `Scope`.

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use downhaul_context::{CauseKind, Context};

use crate::common::{Wakes, assert_ended, waiters};

/// Extra E1: not while it is polled, nor afterwards.
#[tokio::test]
async fn a_future_that_is_ready_at_once_never_registers() {
    let (ctx, canceller) = Context::root();
    let seen = ctx.run(async { waiters(&ctx) }).await.unwrap();
    assert_eq!((seen, waiters(&ctx)), (0, 0));
    canceller.cancel();
    let wakes = Arc::new(Wakes::default());
    assert!(wakes.poll(std::pin::pin!(ctx.done())).is_ready());
    assert!(wakes.poll(std::pin::pin!(ctx.run(pending::<()>()))).is_ready());
    assert_eq!((waiters(&ctx), Arc::strong_count(&wakes)), (0, 1));
}

/// Extra E1: however often it is polled.
#[test]
fn a_pending_future_registers_once() {
    let (ctx, canceller) = Context::root();
    let wakes = Arc::new(Wakes::default());
    let mut run = Box::pin(ctx.run(pending::<()>()));
    for _ in 0..3 {
        assert!(wakes.poll(run.as_mut()).is_pending());
        assert_eq!(waiters(&ctx), 1);
    }
    canceller.cancel();
    assert_eq!(wakes.count(), 1);
}

/// Extra E1, E2: it went from one task to another.
#[test]
fn the_end_wakes_who_polled_last_and_not_who_polled_before() {
    let (ctx, canceller) = Context::root();
    let (before, last) = (Arc::new(Wakes::default()), Arc::new(Wakes::default()));
    let mut wait = Box::pin(ctx.done());
    assert!(before.poll(wait.as_mut()).is_pending());
    assert!(last.poll(wait.as_mut()).is_pending());
    assert_eq!(Arc::strong_count(&before), 1, "the stale waker is gone");
    canceller.cancel();
    assert_eq!((before.count(), last.count()), (0, 1));
    assert!(last.poll(wait.as_mut()).is_ready());
}

/// Extra E2: and the others are.
#[test]
fn a_future_that_was_dropped_is_not_woken() {
    let (ctx, canceller) = Context::root();
    let wakes: [_; 3] = std::array::from_fn(|_| Arc::new(Wakes::default()));
    let mut waits = wakes.each_ref().map(|_| Some(Box::pin(ctx.done())));
    for (wait, wakes) in waits.iter_mut().flatten().zip(&wakes) {
        assert!(wakes.poll(wait.as_mut()).is_pending());
    }
    waits[1] = None;
    canceller.cancel();
    assert_eq!(wakes.map(|wakes| wakes.count()), [1, 0, 1]);
}

/// Extra E1: a future inside `run` that wakes itself is polled again, and the wait stays one.
#[tokio::test]
async fn a_future_that_yields_inside_run_goes_on_and_registers_once() {
    let (ctx, canceller) = Context::root();
    let mut left = 3;
    let yields = poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(waiters(&ctx));
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    });
    assert_eq!(ctx.run(yields).await.unwrap(), 1);
    assert_eq!(waiters(&ctx), 0);
    canceller.cancel();
    assert_ended(&ctx, CauseKind::Cancelled);
}
