//! The bridges from and to `CancellationToken`.

use std::time::Duration;

use downhaul_context::{CauseKind, Context};
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    from_token();
    to_token().await;
    half_a_bridge();
    drop_differs();
    clone_differs();
}

// ANCHOR: from
/// A library has a token, and you want a context that ends with it.
fn from_token() {
    let token = CancellationToken::new();
    let (ctx, _canceller) = Context::background().child_until_token(&token);

    token.cancel();
    assert!(ctx.is_done());
}
// ANCHOR_END: from

// ANCHOR: to
/// A library wants a token, and you have a context.
async fn to_token() {
    let (ctx, _canceller) = Context::background().with_timeout(Duration::from_millis(100));
    let (token, _registration) = ctx.to_token();

    // It is cancelled at the deadline, and no task waits for that.
    token.cancelled().await;
    assert_eq!(ctx.cause().map(|cause| cause.kind()), Some(CauseKind::Deadline));
}
// ANCHOR_END: to

// ANCHOR: half
fn half_a_bridge() {
    let (ctx, canceller) = Context::root();
    // Wrong: `_` binds nothing. The registration is dropped, and the token hears of nothing.
    let (deaf, _) = ctx.to_token();
    // Right: it is kept for as long as the token is used.
    let (token, _registration) = ctx.to_token();

    canceller.cancel();
    assert!(!deaf.is_cancelled() && token.is_cancelled());
}
// ANCHOR_END: half

// ANCHOR: drop
fn drop_differs() {
    let token = CancellationToken::new();
    let child = token.child_token();
    drop(token);
    assert!(!child.is_cancelled(), "who forgets a token leaves its work running");

    let (service, stop) = Context::root();
    let (child, _child) = service.child();
    drop(stop);
    assert!(child.is_done(), "who forgets a canceller ends its work");
}
// ANCHOR_END: drop

// ANCHOR: clone
fn clone_differs() {
    let token = CancellationToken::new();
    token.clone().cancel();
    assert!(token.is_cancelled(), "who has a token, or a clone of it, can cancel it");

    let (ctx, canceller) = Context::root();
    let for_others = ctx.clone();
    assert!(!for_others.is_done(), "a clone can wait and derive, and has no `cancel`");
    canceller.cancel();
    assert!(for_others.is_done());
}
// ANCHOR_END: clone
