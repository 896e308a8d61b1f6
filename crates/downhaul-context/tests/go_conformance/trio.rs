//! What Trio tests of its cancel scopes.

use std::sync::Arc;
use std::thread;

use downhaul_context::{CauseKind, Context, Level, Reason};
use tokio::time::{Instant, advance};

use crate::common::{SECOND, Wakes, assert_ended, assert_live};

/// Extra C1: not even to the first await.
#[tokio::test]
async fn work_under_a_context_that_has_ended_does_not_begin() {
    let (ctx, canceller) = Context::root();
    canceller.cancel_with(Reason::client_gone());
    let work = tokio::spawn(ctx.run_owned(async { panic!("it has begun") }));
    assert_eq!(work.await.unwrap().unwrap_err().kind(), CauseKind::ClientGone);
}

/// Extra C2: a shield cannot be taken away again. What it shields can be ended by its canceller.
#[tokio::test(start_paused = true)]
async fn a_shield_holds_the_end_off_for_its_slack_and_no_longer() {
    let (request, request_canceller) = Context::root();
    let (cleanup, _cleanup) = request.shielded(5 * SECOND);
    let (quick, quick_canceller) = request.shielded(5 * SECOND);
    request_canceller.cancel();
    assert_eq!((cleanup.level(), quick.level()), (Level::Draining, Level::Draining));
    quick_canceller.cancel();
    assert_ended(&quick, CauseKind::Cancelled);
    let ended = Instant::now();
    assert_eq!(cleanup.done().await.kind(), CauseKind::DrainGraceOver);
    assert_eq!(ended.elapsed(), 5 * SECOND);
}

/// Extra C2: Trio flips a shield while a cancel is on its way; we make one.
#[test]
fn a_shield_made_while_its_parent_is_cancelled_drains() {
    for _ in 0..if cfg!(miri) { 3 } else { 300 } {
        let (request, canceller) = Context::root();
        let (cleanup, _cleanup) = thread::scope(|scope| {
            let shielding = scope.spawn(|| request.shielded(3600 * SECOND));
            canceller.cancel_with(Reason::client_gone());
            shielding.join().unwrap()
        });
        assert_eq!(cleanup.level(), Level::Draining);
        assert_eq!(cleanup.drain_cause().unwrap().kind(), CauseKind::ClientGone);
    }
}

/// Extra C3: and what is derived after the end as well.
#[test]
fn all_generations_inherit_a_cancel() {
    let (mut ctx, canceller) = Context::root();
    let mut generations = vec![ctx.clone()];
    let mut cancellers = Vec::new();
    for _ in 0..5 {
        let (child, canceller) = ctx.child();
        generations.push(child.clone());
        cancellers.push(canceller);
        ctx = child;
    }
    canceller.cancel();
    generations.push(ctx.child().0);
    generations.iter().for_each(|ctx| assert_ended(ctx, CauseKind::Cancelled));
}

/// Extra C4: a deadline is fixed. What can be moved is the end of a drain, and only nearer.
#[tokio::test(start_paused = true)]
async fn the_end_can_be_moved_nearer_while_somebody_waits_and_never_further() {
    let (ctx, canceller) = Context::background().with_timeout(60 * SECOND);
    let begun = Instant::now();
    let wait = tokio::spawn(ctx.done_owned());
    tokio::task::yield_now().await;
    canceller.drain(5 * SECOND);
    tokio::task::yield_now().await;
    canceller.drain(3600 * SECOND);
    assert_eq!(ctx.ends_at(), Some(begun + 5 * SECOND));
    canceller.drain(2 * SECOND);
    assert_eq!(wait.await.unwrap().budget(), Some(2 * SECOND));
    assert_eq!(begun.elapsed(), 2 * SECOND);
    assert_eq!(ctx.deadline(), Some(begun + 60 * SECOND));
}

/// Extra C5: a context is there before anybody enters it.
#[test]
fn a_cancel_before_the_first_wait_is_not_lost() {
    let (ctx, canceller) = Context::root();
    let wait = ctx.done_owned();
    canceller.cancel();
    let wakes = Arc::new(Wakes::default());
    assert!(wakes.poll(std::pin::pin!(wait)).is_ready());
    assert_eq!(wakes.count(), 0);
}

/// Extra C6, B13: Trio and grpc-java warn of depth. Here it costs a walk, and no stack.
#[test]
fn a_very_deep_chain_is_waited_on_ended_and_dropped_on_a_small_stack() {
    fn live_and_die() {
        let (root, canceller) = Context::root();
        let (mut leaf, mut cancellers) = (root, Vec::new());
        for _ in 0..if cfg!(miri) { 200 } else { 100_000 } {
            let (child, canceller) = leaf.child();
            cancellers.push(canceller);
            leaf = child;
        }
        let wakes = Arc::new(Wakes::default());
        let mut wait = Box::pin(leaf.done_owned());
        assert!(wakes.poll(wait.as_mut()).is_pending());
        canceller.cancel();
        assert_eq!(wakes.count(), 1);
        assert_ended(&leaf, CauseKind::Cancelled);
    }

    let thread = thread::Builder::new().stack_size(128 * 1024).spawn(live_and_die);
    thread.unwrap().join().unwrap();
}

/// Extra C7: however often it was polled, and whoever gave up.
#[tokio::test(start_paused = true)]
async fn a_wait_has_one_timer_and_none_when_it_is_dropped() {
    let (ctx, _canceller) = Context::background().with_timeout(SECOND);
    let (kept, dropped) = (Arc::new(Wakes::default()), Arc::new(Wakes::default()));
    let (mut wait, mut given_up) = (Box::pin(ctx.done()), Box::pin(ctx.done()));
    for _ in 0..100 {
        assert!(kept.poll(wait.as_mut()).is_pending());
        assert!(dropped.poll(given_up.as_mut()).is_pending());
    }
    drop(given_up);
    advance(2 * SECOND).await;
    assert_eq!((kept.count(), dropped.count()), (1, 0));
    assert!(kept.poll(wait.as_mut()).is_ready());
}

/// Extra C8: of its own, of its ancestors, and of a drain.
#[tokio::test(start_paused = true)]
async fn when_time_ends_a_context_is_the_nearest_of_all_that_can() {
    let now = Instant::now();
    let (outer, canceller) = Context::background().with_timeout(60 * SECOND);
    let (inner, _inner) = outer.with_timeout(30 * SECOND);
    assert_eq!((inner.deadline(), inner.ends_at()), (Some(now + 30 * SECOND), inner.deadline()));
    canceller.drain(SECOND);
    assert_eq!(inner.ends_at(), Some(now + SECOND));
    assert_eq!(inner.deadline(), Some(now + 30 * SECOND));
    assert_eq!(Context::background().ends_at(), None);
    assert_live(&Context::background());
}
