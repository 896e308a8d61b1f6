//! Live, Draining, Done.

use std::time::Duration;

use downhaul_context::{CauseKind, Context, Level, Reason};

const GRACE: Duration = Duration::from_secs(30);

#[test]
fn a_fresh_context_is_live() {
    let (ctx, _canceller) = Context::root();
    assert_eq!(ctx.level(), Level::Live);
    assert!(ctx.cause().is_none() && ctx.drain_cause().is_none());
}

#[test]
fn cancel_ends_descendants_before_it_returns() {
    let (root, canceller) = Context::root();
    let (child, _child) = root.child();
    let (grandchild, _grandchild) = child.with_value(7_u8).child();
    assert!(canceller.cancel());
    assert!(root.is_done() && child.is_done() && grandchild.is_done());
    assert!(!canceller.cancel(), "the second call ends nothing");
}

#[test]
fn cancelling_a_child_leaves_parent_and_siblings_live() {
    let (root, _root) = Context::root();
    let (child, canceller) = root.child();
    let (sibling, _sibling) = root.child();
    canceller.cancel();
    assert!(child.is_done());
    assert_eq!((root.level(), sibling.level()), (Level::Live, Level::Live));
}

#[test]
fn a_context_that_has_ended_still_tells_why_it_drained() {
    let (ctx, canceller) = Context::root();
    canceller.drain_with(GRACE, Reason::signal("SIGTERM"));
    canceller.cancel();
    assert_eq!(ctx.cause().unwrap().kind(), CauseKind::Cancelled);
    assert_eq!(ctx.drain_cause().unwrap().kind(), CauseKind::Signal);
}

#[test]
fn draining_reaches_every_descendant_and_cancels_nothing() {
    let (root, canceller) = Context::root();
    let (child, _child) = root.child();
    assert!(canceller.drain_with(GRACE, Reason::signal("SIGTERM")));
    let (born_later, _later) = child.child();
    for ctx in [&root, &child, &born_later] {
        assert_eq!(ctx.level(), Level::Draining);
        assert!(ctx.check().is_ok());
        assert_eq!(ctx.drain_cause().unwrap().kind(), CauseKind::Signal);
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_grace_ends_a_draining_context() {
    let (root, canceller) = Context::background().derive().label("orders").build();
    let (child, _child) = root.child();
    canceller.drain_with(GRACE, Reason::signal("SIGTERM"));
    tokio::time::advance(GRACE - Duration::from_millis(1)).await;
    assert_eq!(child.level(), Level::Draining);
    let cause = child.done().await;
    assert_eq!((cause.kind(), cause.path()), (CauseKind::DrainGraceOver, "orders"));
    assert_eq!(cause.to_string(), "drain grace over: \"orders\" 30s after signal SIGTERM");
}

#[tokio::test(start_paused = true)]
async fn a_drain_below_one_can_only_shorten_the_grace_and_leaves_the_first_cause() {
    let (root, canceller) = Context::root();
    let (child, child_canceller) = root.child();
    canceller.drain_with(GRACE, Reason::signal("SIGTERM"));
    let second = child_canceller.drain_with(GRACE / 2, Reason::cancelled("the server drains"));
    assert!(!second, "it was draining before");
    assert_eq!(child.drain_cause().unwrap().kind(), CauseKind::Signal);
    let cause = child.done().await;
    assert_eq!(cause.to_string(), "drain grace over: 15s after signal SIGTERM");
    assert_eq!(root.level(), Level::Draining);
}

#[tokio::test(start_paused = true)]
async fn a_second_drain_can_only_shorten_the_grace() {
    let (root, canceller) = Context::root();
    let begun = tokio::time::Instant::now();
    assert!(canceller.drain(Duration::from_secs(10)));
    assert!(!canceller.drain(Duration::from_secs(60)));
    assert!(!canceller.drain(Duration::from_secs(2)));
    assert_eq!(root.remaining(), None, "a grace is no deadline");
    root.done().await;
    assert_eq!(begun.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_hears_of_a_grace_that_was_shortened_while_it_waited() {
    let (root, canceller) = Context::root();
    canceller.drain(Duration::from_secs(600));
    let begun = tokio::time::Instant::now();
    let waiter = tokio::spawn({
        let root = root.clone();
        async move { root.done().await }
    });
    tokio::task::yield_now().await;
    canceller.drain(Duration::from_secs(1));
    waiter.await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
}

#[test]
fn a_context_that_ended_cannot_drain() {
    let (ctx, canceller) = Context::root();
    canceller.cancel();
    assert!(!canceller.drain(GRACE));
    assert!(ctx.drain_cause().is_none());
}

#[test]
fn dropping_the_canceller_ends_the_context_and_disarming_does_not() {
    let (dropped, canceller) = Context::root();
    drop(canceller);
    assert_eq!(dropped.cause().unwrap().kind(), CauseKind::Dropped);

    let (disarmed, canceller) = Context::root();
    canceller.disarm();
    assert_eq!(disarmed.level(), Level::Live);
}

#[test]
fn a_detached_context_keeps_the_values_and_not_the_lifetime() {
    let (root, canceller) = Context::root();
    let (request, _request) = root.with_value("id-1").with_timeout(Duration::ZERO);
    let detached = request.detached();
    canceller.cancel();
    assert!(request.is_done());
    assert_eq!((detached.level(), detached.deadline()), (Level::Live, None));
    assert_eq!(detached.value::<&str>(), Some(&"id-1"));
}
