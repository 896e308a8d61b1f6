//! A deadline is a property of the context, checked by the clock; a timer is armed only for who
//! waits.

use std::time::Duration;

use downhaul_context::{CauseKind, Context, Instant};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_deadline_is_seen_without_any_runtime() {
    let (ctx, _canceller) = Context::background().with_timeout(Duration::ZERO);
    assert_eq!(ctx.cause().unwrap().kind(), CauseKind::Deadline);
    assert_eq!(ctx.remaining(), Some(Duration::ZERO));
}

#[test]
fn a_deadline_in_the_past_ends_the_context_at_birth() {
    let now = Instant::now();
    let past = now.checked_sub(SECOND).unwrap_or(now);
    let (ctx, canceller) = Context::background().with_deadline(past);
    assert!(ctx.is_done());
    assert!(!canceller.cancel());
}

#[test]
fn a_budget_beyond_the_clock_is_no_deadline() {
    let (ctx, _canceller) = Context::background().with_timeout(Duration::MAX);
    assert_eq!((ctx.deadline(), ctx.is_done()), (None, false));
}

#[tokio::test(start_paused = true)]
async fn a_child_never_outlives_its_parents_deadline() {
    let (parent, _parent) = Context::background().derive().label("parent").timeout(SECOND).build();
    let (child, _child) = parent.derive().label("child").timeout(60 * SECOND).build();
    assert_eq!(child.deadline(), parent.deadline());
    let cause = child.done().await;
    assert_eq!((cause.kind(), cause.path()), (CauseKind::Deadline, "parent"));
}

#[tokio::test(start_paused = true)]
async fn a_child_may_end_before_its_parent() {
    let (parent, _parent) = Context::background().with_timeout(60 * SECOND);
    let (child, _child) = parent.with_timeout(SECOND);
    assert_eq!(child.done().await.budget(), Some(SECOND));
    assert!(!parent.is_done());
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_at_the_deadline_exactly() {
    let begun = Instant::now();
    let (ctx, _canceller) = Context::background().with_timeout(SECOND);
    ctx.done().await;
    assert_eq!(begun.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn cancelling_before_the_deadline_is_a_cancel() {
    let (ctx, canceller) = Context::background().with_timeout(SECOND);
    canceller.cancel();
    tokio::time::advance(2 * SECOND).await;
    assert_eq!(ctx.cause().unwrap().kind(), CauseKind::Cancelled);
}
