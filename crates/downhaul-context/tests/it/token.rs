//! `CancellationToken`s as parents and as children.

use std::time::Duration;

use downhaul_context::{CauseKind, Context, Level};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_cancelled_token_wakes_who_waits_below_it_and_no_task_is_spawned() {
    let token = CancellationToken::new();
    let (ctx, _canceller) = Context::background().child_until_token(&token);
    let (child, _child) = ctx.child();
    let alive = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(alive, 0);
    let waiter = tokio::spawn(child.done_owned());
    tokio::task::yield_now().await;
    token.cancel();
    assert_eq!(waiter.await.unwrap().kind(), CauseKind::Cancelled);
}

#[test]
fn a_child_of_a_token_that_is_cancelled_is_born_ended_and_ending_it_leaves_the_token() {
    let token = CancellationToken::new();
    let (ctx, canceller) = Context::background().child_until_token(&token);
    canceller.cancel();
    assert!(ctx.is_done() && !token.is_cancelled());
    token.cancel();
    assert!(Context::background().child_until_token(&token).0.is_done());
}

#[tokio::test(start_paused = true)]
async fn a_token_of_a_context_is_cancelled_at_its_end_and_not_when_it_drains() {
    let (ctx, canceller) = Context::root();
    let (token, _registration) = ctx.to_token();
    canceller.drain(Duration::from_secs(1));
    assert!(ctx.level() == Level::Draining && !token.is_cancelled());
    token.cancelled().await;
    assert!(ctx.is_done());
}

#[test]
fn a_token_whose_registration_is_dropped_is_on_its_own() {
    let (ctx, canceller) = Context::root();
    let (token, registration) = ctx.to_token();
    drop(registration);
    canceller.cancel();
    assert!(!token.is_cancelled());
}
