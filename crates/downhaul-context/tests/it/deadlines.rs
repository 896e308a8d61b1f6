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
fn a_budget_that_counts_from_days_ago_is_over_when_it_is() {
    let day = 86_400 * SECOND;
    let Some(begun) = Instant::now().checked_sub(3 * day) else { return };
    let service = Context::background();
    for (budget, is_over) in [(2 * day, true), (4 * day, false)] {
        let (ctx, _canceller) = service.derive().timeout_since(begun, budget).build();
        assert_eq!(ctx.is_done(), is_over);
    }
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
    assert_eq!(cause.location(), parent.snapshot().entries()[0].location);
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

/// A runtime of many threads has a clock that no test can move: these pass in real time.
mod on_many_threads {
    use super::*;

    const SOON: Duration = Duration::from_millis(150);

    /// Asks until it is so, and waits for nothing.
    async fn until(so: impl Fn() -> bool) {
        let asking = async {
            while !so() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(60 * SECOND, asking).await.expect("it is never so");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_deadline_is_seen_by_who_asks_again_and_again() {
        let (ctx, canceller) = Context::background().with_timeout(SOON);
        let (child, _child) = ctx.child();
        until(|| ctx.is_done()).await;
        assert_eq!(ctx.remaining(), Some(Duration::ZERO));
        assert_eq!(child.cause().unwrap().kind(), CauseKind::Deadline);
        assert!(!canceller.cancel());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_cancelled_long_before_its_deadline_is_cancelled() {
        let (ctx, canceller) = Context::background().with_timeout(3600 * SECOND);
        let (child, _child) = ctx.with_timeout(1800 * SECOND);
        assert!(!child.is_done() && ctx.cause().is_none());
        assert!(canceller.cancel());
        assert!(child.is_done());
        assert_eq!(child.cause().unwrap().kind(), CauseKind::Cancelled);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_grace_ends_long_before_a_deadline() {
        let (ctx, canceller) = Context::background().with_timeout(3600 * SECOND);
        let (child, _child) = ctx.child();
        canceller.drain(SOON);
        assert!(child.is_draining());
        until(|| child.is_done()).await;
        assert_eq!(child.cause().unwrap().kind(), CauseKind::DrainGraceOver);
    }

    /// Two clocks cannot agree; what matters is that nobody turns round between them.
    #[test]
    fn a_deadline_that_is_waited_for_by_a_paused_clock_comes_by_that_clock() {
        let many = tokio::runtime::Runtime::new().unwrap();
        let set = async { Context::background().with_timeout(3600 * SECOND) };
        let (ctx, _canceller) = many.block_on(set);
        let builder = &mut tokio::runtime::Builder::new_current_thread();
        let paused = builder.enable_time().start_paused(true).build().unwrap();
        let (shielded, _shielded) = ctx.shielded(3600 * SECOND);
        paused.block_on(shielded.draining());
        assert!(shielded.is_draining());
        assert_eq!(paused.block_on(ctx.done()).kind(), CauseKind::Deadline);
        assert!(ctx.is_done() && ctx.cause().is_some());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn below_a_shield_it_is_seen_that_time_alone_has_ended_the_other() {
        for slack in [3600 * SECOND, Duration::MAX] {
            let (other, _other) = Context::background().with_timeout(SOON);
            let (shielded, _shielded) = other.shielded(slack);
            let (child, _child) = shielded.with_timeout(1800 * SECOND);
            until(|| child.is_draining()).await;
            assert!(other.is_done() && !child.is_done());
        }
    }
}
