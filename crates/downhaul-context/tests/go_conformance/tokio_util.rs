//! What tokio-util tests of its `CancellationToken`, and we of a context.

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use downhaul_context::{Canceller, CauseKind, Context, Registration};
use tokio::sync::oneshot;

use crate::common::{Dice, Wakes, assert_ended, assert_live, known_below, poll_once, waiters};

/// Extra A1: a token cancels; of a context only the canceller does, and it is shared.
#[test]
fn all_clones_of_a_context_end_whoever_shares_the_canceller() {
    let (ctx, canceller) = Context::root();
    let (clone, canceller) = (ctx.clone(), Arc::new(canceller));
    let shared = Arc::clone(&canceller);
    drop(canceller);
    assert_live(&clone);
    shared.cancel();
    [&ctx, &clone].into_iter().for_each(|ctx| assert_ended(ctx, CauseKind::Cancelled));
}

/// Extra A2, A5: the one in the middle is gone, and its place in the tree is not.
#[test]
fn each_waiter_is_woken_once_also_through_a_handle_that_was_dropped() {
    let (root, canceller) = Context::root();
    let (middle, middle_canceller) = root.child();
    let (leaf, _leaf) = middle.child();
    middle_canceller.disarm();
    drop(middle);
    let wakes = Arc::new(Wakes::default());
    let (mut first, mut second) = (Box::pin(root.done()), Box::pin(leaf.done()));
    assert!(wakes.poll(first.as_mut()).is_pending());
    assert!(wakes.poll(second.as_mut()).is_pending());
    assert_eq!(wakes.count(), 0);
    canceller.cancel();
    assert_eq!(wakes.count(), 2);
    assert!(wakes.poll(first.as_mut()).is_ready());
    assert!(wakes.poll(second.as_mut()).is_ready());
    drop(_leaf);
    assert_eq!(wakes.count(), 2);
}

/// Extra A2: whoever else ends what has ended.
#[test]
fn a_waiter_that_its_own_context_has_woken_is_not_woken_again_by_the_parent() {
    let (parent, parent_canceller) = Context::root();
    let (child, canceller) = parent.child();
    let wakes = Arc::new(Wakes::default());
    let mut waits = [Box::pin(child.done()), Box::pin(child.done())];
    for wait in &mut waits {
        assert!(wakes.poll(wait.as_mut()).is_pending());
    }
    canceller.cancel();
    assert_eq!(wakes.count(), 2);
    parent_canceller.cancel();
    assert_eq!(wakes.count(), 2);
}

/// Extra A3: it outlives the handle that it came from.
#[tokio::test]
async fn an_owned_wait_can_be_spawned() {
    let (ctx, canceller) = Context::root();
    let wait = tokio::spawn(ctx.done_owned());
    let work = tokio::spawn(ctx.run_owned(async { 7 }));
    drop(ctx);
    assert_eq!(work.await.unwrap().unwrap(), 7);
    canceller.cancel();
    assert_eq!(wait.await.unwrap().kind(), CauseKind::Cancelled);
}

/// Extra A4, Go 54: whether it has been polled or not.
#[test]
fn an_owned_wait_that_is_dropped_leaves_nothing_behind() {
    let (ctx, canceller) = Context::root();
    drop(ctx.done_owned());
    let mut wait = Box::pin(ctx.done_owned());
    let wakes = Arc::new(Wakes::default());
    assert!(wakes.poll(wait.as_mut()).is_pending());
    assert_eq!(waiters(&ctx), 1);
    drop(wait);
    assert_eq!((waiters(&ctx), Arc::strong_count(&wakes)), (0, 1));
    canceller.cancel();
    assert_eq!(wakes.count(), 0);
}

/// Extra A6: nor does it wake who waits there.
#[test]
fn a_childs_cancel_leaves_a_wait_on_its_parent_pending() {
    let (parent, _parent) = Context::root();
    let (_child, canceller) = parent.child();
    let wakes = Arc::new(Wakes::default());
    let mut wait = Box::pin(parent.done());
    assert!(wakes.poll(wait.as_mut()).is_pending());
    canceller.cancel();
    assert_eq!(wakes.count(), 0);
    assert!(wakes.poll(wait.as_mut()).is_pending());
}

/// Extra A8: the parent forgets each, and ends the others.
#[test]
fn children_may_be_dropped_in_any_order() {
    let mut dice = Dice::new();
    for _ in 0..if cfg!(miri) { 2 } else { 200 } {
        let (parent, canceller) = Context::root();
        let listening = |parent: &Context| {
            let (child, canceller) = parent.child();
            child.on_done(drop).keep();
            (child, canceller)
        };
        let mut children: Vec<_> = (0..10).map(|_| listening(&parent)).collect();
        dice.shuffle(&mut children);
        let left = children.split_off(dice.below(10));
        for (dropped, child) in children.into_iter().enumerate() {
            assert_eq!(known_below(&parent), 10 - dropped);
            drop(child);
        }
        canceller.cancel();
        assert!(left.iter().all(|(ctx, _)| ctx.is_done()));
    }
}

/// Extra A9: of a family of three generations.
#[test]
fn a_cancel_ends_all_descendants_and_nobody_else() {
    let (root, _root) = Context::root();
    let ((left, canceller), (right, _right)) = (root.child(), root.child());
    let ((under_left, _ul), (under_right, _ur)) = (left.child(), right.child());
    canceller.cancel();
    [&left, &under_left].into_iter().for_each(|ctx| assert_ended(ctx, CauseKind::Cancelled));
    [&root, &right, &under_right].into_iter().for_each(assert_live);
}

/// Extra A10: what ends the parent is its canceller, not its handles.
#[test]
fn a_child_lives_on_when_its_parents_handle_is_dropped_and_ends_with_its_canceller() {
    let (parent, canceller) = Context::root();
    let (child, _child) = parent.child();
    drop(parent);
    assert_live(&child);
    drop(canceller);
    assert_ended(&child, CauseKind::Dropped);
}

/// Extra A11: a panic between two of our calls leaves nothing half done.
#[test]
fn handles_may_go_to_other_threads_and_through_caught_panics() {
    fn is_safe<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe>() {}

    is_safe::<Context>();
    is_safe::<Canceller>();
    is_safe::<Registration>();
}

/// Extra A12: with a future that borrows, and with one that can be spawned.
#[tokio::test]
async fn run_prefers_a_future_that_is_ready_and_polls_none_after_the_end() {
    let (ctx, canceller) = Context::root();
    let cancels = async {
        canceller.cancel();
        7
    };
    assert_eq!(ctx.run(cancels).await.unwrap(), 7);

    let (ctx, canceller) = Context::root();
    let (send, receive) = oneshot::channel();
    let mut run = Box::pin(ctx.run(receive));
    assert!(poll_once(run.as_mut()).is_pending());
    canceller.cancel();
    send.send(7).unwrap();
    assert_eq!(run.await.unwrap(), Ok(7));

    let mut polled = false;
    assert!(ctx.run(async { polled = true }).await.is_err());
    assert!(ctx.run_owned(async { polled = true }).await.is_err());
    assert!(!polled);
}

/// Extra A13: we have a name for it, since two that are equal are the same.
#[test]
fn two_handles_are_the_same_if_they_have_one_lifetime() {
    let (ctx, _canceller) = Context::root();
    assert!(ctx.is_same(&ctx.clone()) && ctx.is_same(&ctx.with_value(7_u8)));
    assert!(!ctx.is_same(&ctx.child().0) && !ctx.is_same(&Context::root().0));
}
