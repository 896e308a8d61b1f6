//! Go's custom contexts with a channel of their own: `TestCustomContextPropagation`,
//! `TestCustomContextCause` and `XTestCustomContextGoroutines`.
//!
//! Go wraps any type that has the four methods. Our `child_until` takes any future as a parent.

use std::error::Error;
use std::future::{Future, pending};
use std::sync::Arc;

use downhaul_context::{Canceller, CauseKind, Context, Reason};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::common::{SECOND, assert_ended, assert_live, under_token, why};

/// How many tasks the current runtime has.
fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Ends when `parent` has ended and `gate` is open, for the parent's cause.
fn gated(parent: &Context, gate: oneshot::Receiver<()>) -> (Context, Canceller) {
    let done = parent.done_owned();
    parent.detached().child_until(async {
        let cause = done.await;
        let _ = gate.await;
        Reason::cancelled("late").with_source(cause)
    })
}

/// Go 91, 109: a lifetime may follow another by its own rule, and then the other does not reach
/// through it. Its cause is its own, and has the other's as its source.
#[test]
fn a_child_of_a_context_with_a_rule_of_its_own_ends_by_that_rule_alone() {
    let (parent, canceller) = Context::root();
    let (open, gate) = oneshot::channel();
    let (custom, _custom) = gated(&parent, gate);
    let (child, _child) = custom.child();
    canceller.cancel_with(Reason::client_gone());
    [&custom, &child].into_iter().for_each(assert_live);
    open.send(()).unwrap();
    assert_ended(&child, CauseKind::Cancelled);
    let source = child.cause().unwrap().source().unwrap().to_string();
    assert_eq!(Some(source), why(&parent));
}

/// Go 92: and is born ended, if its foreign parent has.
#[test]
fn a_child_of_an_ended_foreign_parent_has_ended() {
    let token = CancellationToken::new();
    token.cancel();
    let (ctx, _canceller) = under_token(&Context::background(), &token);
    assert_ended(&ctx, CauseKind::Cancelled);
    assert_ended(&ctx.child().0, CauseKind::Cancelled);
}

/// Go 93, 94: before and after the foreign parent has ended.
#[test]
fn a_cause_of_a_child_never_reaches_a_foreign_parent_nor_is_replaced_by_it() {
    let token = CancellationToken::new();
    let (custom, _custom) = under_token(&Context::background(), &token);
    let (child, canceller) = custom.child();
    canceller.cancel_with(Reason::client_gone());
    assert_ended(&child, CauseKind::ClientGone);
    assert_live(&custom);
    assert!(!token.is_cancelled());
    token.cancel();
    assert_ended(&child, CauseKind::ClientGone);
    assert_ended(&custom, CauseKind::Cancelled);
}

/// Go 95: the tree has told the child before.
#[test]
fn a_foreign_parent_that_cancels_its_child_itself_comes_second() {
    let token = CancellationToken::new();
    let (custom, _custom) = under_token(&Context::background(), &token);
    let (child, canceller) = custom.child();
    let _callback = custom.on_done(move |_| assert!(!canceller.cancel()));
    token.cancel();
    assert_ended(&child, CauseKind::Cancelled);
    assert_eq!(why(&child), why(&custom));
}

/// Go 106, 107, 108: Go needs a goroutine for each child of a custom context. We need none.
#[tokio::test(start_paused = true)]
async fn no_task_is_spawned_for_any_kind_of_context() {
    let token = CancellationToken::new();
    let (root, canceller) = Context::root();
    let (foreign, _foreign) = under_token(&root, &token);
    let contexts = [
        foreign.child(),
        foreign.with_timeout(SECOND),
        foreign.merged(&root),
        foreign.shielded(SECOND),
        root.with_value(7_u8).child(),
        root.with_timeout(SECOND),
        gated(&root, oneshot::channel().1),
    ];
    for (ctx, _canceller) in &contexts {
        ctx.on_done(drop).keep();
        assert_live(ctx);
        assert_eq!(tasks(), 0);
    }
    canceller.cancel();
    assert_eq!((root.child().0.is_done(), tasks()), (true, 0));
}

/// Go 106, 108: a token keeps what waits on it, and a counter tells when that is gone.
#[test]
fn a_foreign_parent_is_let_go_with_the_last_handle_of_its_child() {
    fn counted(token: &CancellationToken, held: &Arc<()>) -> impl Future<Output = Reason> + use<> {
        let (token, held) = (token.clone(), Arc::clone(held));
        async move {
            let _held = held;
            token.cancelled_owned().await;
            Reason::client_gone()
        }
    }

    let (token, held) = (CancellationToken::new(), Arc::new(()));
    let (ctx, canceller) = Context::background().child_until(counted(&token, &held));
    let (child, child_canceller) = ctx.child();
    drop((ctx, canceller));
    assert_ended(&child, CauseKind::Dropped);
    assert_eq!(Arc::strong_count(&held), 2);
    drop((child, child_canceller));
    assert_eq!(Arc::strong_count(&held), 1);

    // One that has ended by it needs it no more.
    let (ctx, _canceller) = Context::background().child_until(counted(&token, &held));
    token.cancel();
    assert_ended(&ctx, CauseKind::ClientGone);
    assert_eq!(Arc::strong_count(&held), 1);
}

/// Go 108, Extra A9: a wrapper that waits for nothing changes nothing.
#[test]
fn a_foreign_parent_that_never_ends_is_as_none() {
    let (root, canceller) = Context::root();
    let (wrapper, _wrapper) = root.child_until(pending());
    let (child, _child) = wrapper.child();
    assert_live(&child);
    canceller.cancel();
    assert_eq!((why(&child), why(&wrapper)), (why(&root), why(&root)));
}
