//! Go's `TestDeadline`, `TestTimeout`, `TestCanceledTimeout`, `TestDeadlineExceededSupportsTimeout`
//! and `TestDeadlineExceededIsNetError`.

use std::error::Error;
use std::future::pending;
use std::time::Duration;

use downhaul_context::{Canceller, Cause, CauseKind, Context, Instant};

use crate::common::{SECOND, assert_ended, assert_live};

/// A child that does not know its parent's kind: Go's wrapper around a context.
fn wrapped(ctx: &Context) -> (Context, Canceller) {
    ctx.child_until(pending())
}

/// Go 23, 29: to the tick.
#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_the_deadline_with_a_deadline_cause() {
    let at = Instant::now() + SECOND;
    let background = Context::background();
    let (by_deadline, _deadline) = background.with_deadline(at);
    let (by_timeout, _timeout) = background.with_timeout(SECOND);
    for ctx in [by_deadline, by_timeout] {
        assert_eq!(ctx.deadline(), Some(at));
        assert_eq!(ctx.done().await.kind(), CauseKind::Deadline);
        assert_eq!(Instant::now(), at);
        assert_ended(&ctx, CauseKind::Deadline);
    }
}

/// Go 24, 30: a wrapper has the deadline of what it wraps.
#[tokio::test(start_paused = true)]
async fn a_deadline_reaches_through_a_foreign_parent() {
    let (timed, _timed) = Context::background().with_timeout(SECOND);
    let (wrapper, _wrapper) = wrapped(&timed);
    assert_eq!(wrapper.deadline(), timed.deadline());
    assert_live(&wrapper);
    assert_eq!(wrapper.done().await.kind(), CauseKind::Deadline);
    assert_eq!(Some(Instant::now()), timed.deadline());
}

/// Go 25, 31: and the cause names whose deadline it was.
#[tokio::test(start_paused = true)]
async fn a_far_deadline_under_a_wrapped_near_one_fires_at_the_near_one() {
    let begun = Instant::now();
    let (near, _near) = Context::background().derive().label("near").timeout(SECOND).build();
    let (wrapper, _wrapper) = wrapped(&near);
    let (far, _far) = wrapper.derive().label("far").timeout(3600 * SECOND).build();
    let cause = far.done().await;
    assert_eq!((cause.kind(), cause.path()), (CauseKind::Deadline, "near"));
    assert_eq!((cause.budget(), begun.elapsed()), (Some(SECOND), SECOND));
}

/// Go 26, 27, Extra B10: without a runtime, since there is nothing to wait for.
#[test]
fn a_deadline_that_is_past_or_now_has_fired_at_once() {
    let now = Instant::now();
    let past = now.checked_sub(SECOND).unwrap_or(now);
    for at in [past, now] {
        let (ctx, canceller) = Context::background().with_deadline(at);
        assert_ended(&ctx, CauseKind::Deadline);
        assert!(!canceller.cancel(), "it has ended already");
        assert_ended(&ctx, CauseKind::Deadline);
    }
}

/// Go 32, 33: the time comes, and changes nothing.
#[tokio::test(start_paused = true)]
async fn a_cancel_before_the_deadline_ends_at_once_and_stays_the_cause() {
    let (timed, _timed) = Context::background().with_timeout(SECOND);
    let (wrapper, _wrapper) = wrapped(&timed);
    let (ctx, canceller) = wrapper.with_timeout(SECOND / 2);
    canceller.cancel();
    assert_ended(&ctx, CauseKind::Cancelled);
    timed.done().await;
    assert_ended(&ctx, CauseKind::Cancelled);
}

/// Go 62, 116: Go's `Timeout()` is our kind. Whether it is temporary is for who asks to say.
#[test]
fn who_gets_a_cause_as_any_error_can_tell_that_it_was_a_timeout() {
    fn work(ctx: &Context) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(ctx.check()?)
    }

    let (ctx, _canceller) = Context::background().with_timeout(Duration::ZERO);
    let error = work(&ctx).unwrap_err();
    let cause = error.downcast_ref::<Cause>().unwrap();
    assert_eq!(cause.kind(), CauseKind::Deadline);
    assert!(cause.to_string().starts_with("deadline exceeded"), "{cause}");
}
