//! Futures over a context.

use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use downhaul_context::{CauseKind, Context};

#[derive(Default)]
struct CountingWaker(AtomicUsize);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_pending_waiter_is_woken_once_by_an_ancestor_though_the_middle_handle_is_gone() {
    let (root, canceller) = Context::root();
    let (middle, middle_canceller) = root.child();
    let (leaf, _leaf) = middle.child();
    middle_canceller.disarm();
    drop(middle);
    let counter = Arc::new(CountingWaker::default());
    let waker = Waker::from(Arc::clone(&counter));
    let mut cx = std::task::Context::from_waker(&waker);
    let mut done = Box::pin(leaf.done());
    assert!(done.as_mut().poll(&mut cx).is_pending());
    canceller.cancel();
    assert_eq!(counter.0.load(Ordering::SeqCst), 1);
    assert!(done.as_mut().poll(&mut cx).is_ready());
}

#[test]
fn a_waiter_that_was_woken_for_draining_waits_on_for_the_end() {
    let (ctx, canceller) = Context::root();
    let counter = Arc::new(CountingWaker::default());
    let waker = Waker::from(Arc::clone(&counter));
    let mut cx = std::task::Context::from_waker(&waker);
    let (mut first, mut second) = (Box::pin(ctx.done()), Box::pin(ctx.draining()));
    assert!(first.as_mut().poll(&mut cx).is_pending());
    assert!(second.as_mut().poll(&mut cx).is_pending());
    canceller.drain(Duration::MAX);
    assert!(second.as_mut().poll(&mut cx).is_ready());
    drop(second);
    // Nobody but tokio's timer is missing here: the grace has no end, so none is armed before year
    // 2500.
    let woken = counter.0.load(Ordering::SeqCst);
    canceller.cancel();
    assert!(matches!(first.as_mut().poll(&mut cx), Poll::Ready(_)));
    assert!(woken >= 1);
}

#[tokio::test]
async fn run_prefers_a_ready_future_over_a_fresh_end() {
    let (ctx, canceller) = Context::root();
    let output = ctx.run(async {
        canceller.cancel();
        7
    });
    assert_eq!(output.await.unwrap(), 7);
}

#[tokio::test]
async fn run_does_not_poll_the_future_of_a_context_that_has_ended() {
    let (ctx, canceller) = Context::root();
    canceller.cancel();
    let polled = AtomicUsize::new(0);
    let future = async { polled.fetch_add(1, Ordering::SeqCst) };
    assert!(ctx.run(future).await.is_err());
    assert_eq!(polled.load(Ordering::SeqCst), 0);
    assert!(ctx.run(ready(())).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn run_drops_the_future_at_the_deadline() {
    let (ctx, _canceller) = Context::background().with_timeout(Duration::from_secs(1));
    let cause = ctx.run(pending::<()>()).await.unwrap_err();
    assert_eq!(cause.kind(), CauseKind::Deadline);
}

#[tokio::test]
async fn a_dropped_waiter_leaves_the_others_waiting() {
    let (ctx, canceller) = Context::root();
    let spawn = || {
        let ctx = ctx.clone();
        tokio::spawn(async move { ctx.done().await.kind() })
    };
    let (first, second) = (spawn(), spawn());
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    canceller.cancel();
    assert_eq!(second.await.unwrap(), CauseKind::Cancelled);
}
