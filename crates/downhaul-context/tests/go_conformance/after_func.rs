//! Go's `TestAfterFunc…`: our `on_done`, and `after` where a callback is too short.
//!
//! Go runs the function in a goroutine of its own. We run a callback on the thread that ends the
//! context, before the cancel returns, and leave the task to who needs one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use downhaul_context::{CauseKind, Context, Registration};
use tokio::sync::oneshot;

use crate::common::SECOND;

/// A callback that counts its calls.
fn counted(ctx: &Context) -> (Registration, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let count = move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
    };
    (ctx.on_done(count), calls)
}

/// Go 96, 97, 98: once it has run, it cannot be stopped.
#[test]
fn a_callback_runs_at_the_cancel_and_not_before_and_then_cannot_be_stopped() {
    let (ctx, canceller) = Context::root();
    let (callback, calls) = counted(&ctx);
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    canceller.cancel();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert!(!callback.stop());
}

/// Go 99: and gets the cause.
#[tokio::test(start_paused = true)]
async fn a_callback_runs_when_the_deadline_passes() {
    let (ctx, _canceller) = Context::background().with_timeout(SECOND);
    let (tell, told) = oneshot::channel();
    ctx.on_done(|cause| tell.send(cause.kind()).unwrap()).keep();
    assert_eq!(told.await, Ok(CauseKind::Deadline));
    assert_eq!(Some(tokio::time::Instant::now()), ctx.deadline());
}

/// Go 100: before `on_done` returns.
#[test]
fn a_callback_of_an_ended_context_runs_at_once() {
    let (ctx, canceller) = Context::root();
    canceller.cancel();
    let (callback, calls) = counted(&ctx);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert!(!callback.stop());
}

/// Go 101, 102, 103: `stop` takes the registration, so that nobody can stop it twice.
#[test]
fn a_callback_that_was_stopped_in_time_never_runs() {
    let (ctx, canceller) = Context::root();
    let (callback, calls) = counted(&ctx);
    assert!(callback.stop());
    canceller.cancel();
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

/// Go 104: what waits belongs into `after`, in a task.
#[tokio::test]
async fn a_cancel_does_not_wait_for_a_task_that_begins_after_it() {
    let (ctx, canceller) = Context::root();
    let (finish, finished) = oneshot::channel();
    let (tell, mut begun) = oneshot::channel();
    let task = tokio::spawn(ctx.after(async {
        tell.send(()).unwrap();
        finished.await.unwrap()
    }));
    tokio::task::yield_now().await;
    assert!(begun.try_recv().is_err(), "nothing has ended yet");
    canceller.cancel();
    begun.await.unwrap();
    assert!(!task.is_finished());
    finish.send(7).unwrap();
    assert_eq!(task.await.unwrap(), 7);
}
