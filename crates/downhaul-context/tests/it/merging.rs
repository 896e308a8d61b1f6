//! Contexts with a second parent, and contexts that outlive theirs by a bound.

use std::time::Duration;

use downhaul_context::{CauseKind, Context, Level, Reason};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_merged_context_ends_with_either_parent_and_for_its_cause() {
    for of_first in [true, false] {
        let (first, first_canceller) = Context::root();
        let (second, second_canceller) = Context::background().derive().label("second").build();
        let (both, _both) = first.merged(&second);
        let (child, _child) = both.child();
        let canceller = if of_first { &first_canceller } else { &second_canceller };
        canceller.cancel_with(Reason::signal("SIGTERM"));
        let cause = both.cause().unwrap();
        let path = if of_first { "" } else { "second" };
        assert_eq!((cause.kind(), cause.path()), (CauseKind::Signal, path));
        assert_eq!(child.cause().unwrap().kind(), CauseKind::Signal);
        assert_eq!((first.is_done(), second.is_done()), (of_first, !of_first));
    }
}

#[test]
fn a_context_merged_with_one_that_has_ended_is_born_ended() {
    let (second, canceller) = Context::root();
    canceller.cancel_with(Reason::client_gone());
    let (both, _both) = Context::background().merged(&second);
    assert_eq!(both.cause().unwrap().kind(), CauseKind::ClientGone);
}

#[test]
fn a_merged_context_that_has_ended_before_keeps_its_cause() {
    let (second, second_canceller) = Context::root();
    let (both, canceller) = Context::background().merged(&second);
    canceller.cancel_with(Reason::client_gone());
    second_canceller.cancel_with(Reason::signal("SIGTERM"));
    assert_eq!(both.cause().unwrap().kind(), CauseKind::ClientGone);
}

#[tokio::test(start_paused = true)]
async fn of_two_parents_deadlines_the_earlier_counts_and_is_named() {
    let (first, _first) = Context::root();
    let (slow, _slow) = first.derive().label("slow").timeout(5 * SECOND).build();
    let (quick, _quick) = first.derive().label("quick").timeout(SECOND).build();
    for (both, _canceller) in [slow.merged(&quick), quick.merged(&slow)] {
        assert_eq!(both.deadline(), quick.deadline());
        let cause = both.done().await;
        assert_eq!((cause.kind(), cause.path()), (CauseKind::Deadline, "quick"));
        assert_eq!(cause.budget(), Some(SECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_of_the_second_parent_reaches_the_merged_context_and_so_does_its_shorter_grace() {
    let (second, canceller) = Context::root();
    let (both, _both) = Context::background().merged(&second);
    canceller.drain(60 * SECOND);
    assert_eq!(both.level(), Level::Draining);
    assert_eq!(both.ends_at(), second.ends_at());
    canceller.drain(SECOND);
    assert_eq!(both.ends_at(), second.ends_at());
    assert_eq!(both.done().await.kind(), CauseKind::DrainGraceOver);
}

#[tokio::test(start_paused = true)]
async fn a_grace_of_the_second_parent_that_nobody_watched_wins_over_a_later_cancel_of_the_first() {
    let (first, first_canceller) = Context::root();
    let (second, second_canceller) = Context::root();
    let (both, _both) = first.merged(&second);
    second_canceller.drain(SECOND);
    tokio::time::advance(2 * SECOND).await;
    first_canceller.cancel();
    assert_eq!(both.cause().unwrap().kind(), CauseKind::DrainGraceOver);
}

#[test]
fn nothing_of_a_merged_context_is_left_behind_in_its_parents() {
    let (first, _first) = Context::root();
    let (second, _second) = Context::root();
    let both = first.merged(&second);
    assert_eq!(second.snapshot().entries()[0].waiters, 1);
    drop(both);
    assert_eq!(second.snapshot().entries()[0].waiters, 0);
    assert_eq!(first.snapshot().entries().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_below_a_merged_context_that_passed_unseen_is_before_the_end_of_its_parents() {
    let (second, canceller) = Context::root();
    let (both, _both) = Context::background().merged(&second);
    let (timed, _timed) = both.with_timeout(SECOND);
    tokio::time::advance(2 * SECOND).await;
    canceller.cancel();
    assert_eq!(timed.cause().unwrap().kind(), CauseKind::Deadline);
    assert_eq!(both.cause().unwrap().kind(), CauseKind::Cancelled);
}

#[test]
fn merged_contexts_can_be_merged_again() {
    let (first, canceller) = Context::root();
    let (mut leaf, mut cancellers) = (first, Vec::new());
    for _ in 0..100 {
        let (merged, canceller) = Context::background().merged(&leaf);
        cancellers.push(canceller);
        leaf = merged;
    }
    canceller.cancel_with(Reason::client_gone());
    assert_eq!(leaf.cause().unwrap().kind(), CauseKind::ClientGone);
}

#[tokio::test(start_paused = true)]
async fn a_shielded_context_outlives_its_parent_by_its_slack_and_names_what_began_it() {
    let (request, canceller) = Context::root();
    let (cleanup, _cleanup) = request.shielded(5 * SECOND);
    tokio::time::advance(60 * SECOND).await;
    canceller.cancel_with(Reason::client_gone());
    assert_eq!(cleanup.level(), Level::Draining);
    assert_eq!(cleanup.drain_cause().unwrap().kind(), CauseKind::ClientGone);
    tokio::time::advance(4 * SECOND).await;
    assert!(!cleanup.is_done());
    tokio::time::advance(SECOND).await;
    let cause = cleanup.cause().unwrap();
    assert_eq!((cause.kind(), cause.budget()), (CauseKind::DrainGraceOver, Some(5 * SECOND)));
}

#[tokio::test(start_paused = true)]
async fn a_shield_of_a_context_that_ended_long_ago_counts_its_slack_from_now() {
    let (request, canceller) = Context::background().with_timeout(SECOND);
    let (other, other_canceller) = Context::root();
    other_canceller.cancel();
    tokio::time::advance(60 * SECOND).await;
    for ended in [&request, &other] {
        let (cleanup, _cleanup) = ended.shielded(5 * SECOND);
        assert_eq!(cleanup.level(), Level::Draining);
        tokio::time::advance(4 * SECOND).await;
        assert!(!cleanup.is_done());
        tokio::time::advance(SECOND).await;
        assert_eq!(cleanup.cause().unwrap().budget(), Some(5 * SECOND));
    }
    drop(canceller);
}

#[tokio::test(start_paused = true)]
async fn a_shield_survives_its_parents_deadline_and_grace_by_its_slack() {
    let (timed, _timed) = Context::background().with_timeout(SECOND);
    let (drained, canceller) = Context::root();
    canceller.drain(SECOND);
    for parent in [timed, drained] {
        let (cleanup, _cleanup) = parent.shielded(5 * SECOND);
        let now = tokio::time::Instant::now();
        cleanup.done().await;
        assert_eq!(
            now.elapsed(),
            if parent.deadline().is_some() { 6 * SECOND } else { 5 * SECOND }
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_shield_drains_with_its_parent_and_has_its_slack_more_of_a_grace() {
    let (request, canceller) = Context::root();
    let (cleanup, _cleanup) = request.shielded(5 * SECOND);
    for grace in [10 * SECOND, SECOND] {
        canceller.drain(grace);
        assert_eq!(cleanup.level(), Level::Draining);
        assert_eq!(cleanup.ends_at(), request.ends_at().map(|at| at + 5 * SECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn a_shield_that_was_told_to_drain_names_that_also_when_time_has_ended_its_parent() {
    let (request, _request) = Context::background().with_timeout(SECOND);
    let (cleanup, canceller) = request.shielded(60 * SECOND);
    canceller.drain_with(30 * SECOND, Reason::signal("SIGTERM"));
    tokio::time::advance(2 * SECOND).await;
    assert_eq!(request.cause().unwrap().kind(), CauseKind::Deadline);
    assert_eq!(cleanup.drain_cause().unwrap().kind(), CauseKind::Signal);
}

#[tokio::test(start_paused = true)]
async fn a_shielded_context_drains_when_time_alone_ends_its_parent_and_names_that() {
    let (request, _request) = Context::background().with_timeout(SECOND);
    let (cleanup, _cleanup) = request.shielded(5 * SECOND);
    let (inner, _inner) = cleanup.shielded(5 * SECOND);
    let (child, _child) = inner.child();
    let (timed, _timed) = inner.with_timeout(3 * SECOND);
    assert_eq!(child.level(), Level::Live);
    let begun = tokio::time::Instant::now();
    child.draining().await;
    assert_eq!(begun.elapsed(), SECOND);
    for ctx in [&cleanup, &inner, &child] {
        assert_eq!(ctx.level(), Level::Draining);
        assert_eq!(ctx.drain_cause().unwrap().kind(), CauseKind::Deadline);
    }
    // A deadline of its own below the shield is still one.
    assert_eq!(timed.done().await.kind(), CauseKind::Deadline);
    let cause = cleanup.done().await;
    assert_eq!((cause.kind(), cause.budget()), (CauseKind::DrainGraceOver, Some(5 * SECOND)));
    assert_eq!(begun.elapsed(), 6 * SECOND);
    let cause = child.done().await;
    assert_eq!((cause.kind(), begun.elapsed()), (CauseKind::DrainGraceOver, 11 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_shield_for_ever_drains_as_well_when_time_alone_ends_its_parent() {
    let (request, _request) = Context::background().with_timeout(SECOND);
    let (cleanup, _cleanup) = request.shielded(Duration::MAX);
    let (child, _child) = cleanup.with_timeout(60 * SECOND);
    tokio::time::timeout(2 * SECOND, child.draining()).await.unwrap();
    assert!(request.is_done());
    for ctx in [&cleanup, &child] {
        assert_eq!(ctx.level(), Level::Draining);
        assert_eq!(ctx.drain_cause().unwrap().kind(), CauseKind::Deadline);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_merged_with_a_shielded_context_drains_with_it_when_time_alone_brings_that() {
    let (request, _request) = Context::background().with_timeout(SECOND);
    let (cleanup, canceller) = request.shielded(5 * SECOND);
    let (live, _live) = Context::background().derive().observed().build();
    let (both, _both) = live.merged(&cleanup);
    let (again, _again) = Context::background().merged(&both);
    let (child, _child) = again.child();
    assert_eq!(child.level(), Level::Live);
    tokio::time::timeout(2 * SECOND, child.draining()).await.unwrap();
    for ctx in [&both, &again, &child] {
        assert_eq!(ctx.level(), Level::Draining);
        assert_eq!(ctx.drain_cause().unwrap().kind(), CauseKind::Deadline);
    }
    assert_eq!((live.level(), live.snapshot().entries()[1].level), (Level::Live, Level::Draining));
    canceller.cancel();
    assert_eq!(child.cause().unwrap().kind(), CauseKind::Cancelled);
}

#[test]
fn a_shielded_context_keeps_the_values_and_can_be_ended_by_its_own_canceller() {
    let (request, _request) = Context::root();
    let (cleanup, canceller) = request.with_value(7_u32).shielded(Duration::MAX);
    assert_eq!(cleanup.value(), Some(&7_u32));
    canceller.cancel();
    assert_eq!(cleanup.cause().unwrap().kind(), CauseKind::Cancelled);
}

#[test]
fn a_shield_that_waits_for_ever_is_dropped_with_its_handles() {
    let (request, _request) = Context::root();
    drop(request.shielded(SECOND));
    assert_eq!(request.snapshot().entries()[0].waiters, 0);
}
