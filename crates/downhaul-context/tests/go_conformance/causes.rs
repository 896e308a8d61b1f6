//! Go's `TestCause`. Go has an error and a cause; ours is both: its kind is Go's error, and the
//! rest of it says who and where.

use std::error::Error;
use std::time::Duration;

use downhaul_context::{Canceller, CauseKind, Context, Reason};
use tokio_util::sync::CancellationToken;

use crate::common::{SECOND, assert_ended, under_token, why};

/// A parent and its child, with what ends them.
fn generations() -> [(Context, Canceller); 2] {
    let parent = Context::root();
    let child = parent.0.child();
    [parent, child]
}

/// What is told to a canceller, told apart by the words.
fn told(canceller: &Canceller, words: &'static str) -> bool {
    match words {
        "" => canceller.cancel(),
        _ => canceller.cancel_with(Reason::cancelled(words)),
    }
}

/// Go 63, 64: nor a reason to drain.
#[test]
fn what_has_not_ended_has_no_cause() {
    let (ctx, _canceller) = Context::root();
    for ctx in [Context::background(), ctx] {
        assert!(ctx.cause().is_none() && ctx.drain_cause().is_none() && ctx.check().is_ok());
    }
}

/// Go 65, 67: a reason cannot be nothing, so a cancel without one is the plain call.
#[test]
fn a_plain_cancel_says_where_it_was_called_and_no_more() {
    let (ctx, canceller) = Context::root();
    let line = line!() + 1;
    canceller.cancel();
    assert_ended(&ctx, CauseKind::Cancelled);
    let cause = ctx.cause().unwrap();
    assert_eq!((cause.location().file(), cause.location().line()), (file!(), line));
    assert!(cause.source().is_none());
}

/// Go 66: words, kind, and the error behind it.
#[test]
fn a_cancel_with_a_reason_has_it_as_its_cause() {
    let (ctx, canceller) = Context::root();
    canceller.cancel_with(Reason::component_failed("store", "disk full"));
    assert_ended(&ctx, CauseKind::ComponentFailed);
    assert_eq!(ctx.cause().unwrap().source().unwrap().to_string(), "disk full");
}

/// Go 68, 70, 72: whether either says something or not.
#[test]
fn a_parents_cause_that_came_before_the_childs_is_the_childs() {
    for (parents, childs) in [("parent", "child"), ("parent", ""), ("", "child")] {
        let [(parent, parent_canceller), (child, child_canceller)] = generations();
        assert!(told(&parent_canceller, parents));
        assert!(!told(&child_canceller, childs));
        assert_eq!(why(&child), why(&parent));
        assert_eq!(why(&child).unwrap().contains("parent"), parents == "parent");
    }
}

/// Go 69, 71, 73: whether either says something or not.
#[test]
fn a_childs_cause_that_came_before_the_parents_stays_its_own() {
    for (parents, childs) in [("parent", "child"), ("parent", ""), ("", "child")] {
        let [(parent, parent_canceller), (child, child_canceller)] = generations();
        assert!(told(&child_canceller, childs));
        assert!(told(&parent_canceller, parents));
        assert_ne!(why(&child), why(&parent));
        assert_eq!(why(&child).unwrap().contains("child"), childs == "child");
    }
}

/// Go 74, 76: Go's cause of a deadline is our label.
#[test]
fn a_budget_that_is_over_is_the_cause_and_a_later_cancel_is_not() {
    let ctx = Context::background();
    for label in ["", "too slow"] {
        let (ctx, canceller) = ctx.derive().label(label).timeout(Duration::ZERO).build();
        assert!(!told(&canceller, "finished early"));
        assert_ended(&ctx, CauseKind::Deadline);
        assert_eq!(ctx.cause().unwrap().path(), label);
    }
}

/// Go 75, 77: the deadline's label is in no cause but its own.
#[test]
fn a_cancel_before_the_budget_is_over_is_the_cause() {
    let (ctx, canceller) = Context::background().with_timeout(3600 * SECOND);
    assert!(canceller.cancel());
    assert_eq!(ctx.cause().unwrap().budget(), None);
    assert_eq!(ctx.cause().unwrap().kind(), CauseKind::Cancelled);
}

/// Go 78, 79: the child's budget is over, or it has one that is not.
#[test]
fn of_a_childs_deadline_and_a_parents_later_cancel_the_earlier_is_the_cause() {
    for (budget, kind) in [(0, CauseKind::Deadline), (3600, CauseKind::Signal)] {
        let (parent, canceller) = Context::root();
        let (child, _child) = parent.with_timeout(budget * SECOND);
        canceller.cancel_with(Reason::signal("finished early"));
        assert_eq!(child.cause().unwrap().kind(), kind);
        assert_eq!(parent.cause().unwrap().kind(), CauseKind::Signal);
    }
}

/// Go 80, 81, 82: whatever it was detached from.
#[test]
fn a_detached_context_has_no_cause() {
    let [(cancelled, canceller), _child] = generations();
    let (expired, _expired) = Context::background().with_timeout(Duration::ZERO);
    let before = cancelled.detached();
    canceller.cancel_with(Reason::client_gone());
    let contexts =
        [Context::background().detached(), before, cancelled.detached(), expired.detached()];
    assert!(contexts.iter().all(|ctx| ctx.cause().is_none() && ctx.check().is_ok()));
}

/// Go 83: what another library ended has the reason that it gives.
#[test]
fn a_foreign_parent_that_ends_alone_is_the_cause_and_leaves_the_native_one_live() {
    let [(parent, _parent), _child] = generations();
    let token = CancellationToken::new();
    let (ctx, _canceller) = under_token(&parent, &token);
    token.cancel();
    assert!(why(&ctx).unwrap().contains("by the token"));
    assert_eq!(why(&parent), None);
}

/// Go 84: the foreign parent has not ended, and that of the child's has.
#[test]
fn a_native_parents_cause_that_came_before_the_foreign_ones_is_the_cause() {
    let [(parent, canceller), _child] = generations();
    let token = CancellationToken::new();
    let (ctx, _canceller) = under_token(&parent, &token);
    told(&canceller, "parent");
    token.cancel();
    assert!(why(&ctx).unwrap().contains("parent"));
    assert_eq!(why(&ctx), why(&parent));
}

/// Go 85: Go asks the parent, which has ended meanwhile, and says itself that this "isn't really
/// right". Here what came first is the cause.
#[test]
fn a_foreign_parents_cause_that_came_before_the_native_ones_is_the_cause() {
    let [(parent, canceller), _child] = generations();
    let token = CancellationToken::new();
    let (ctx, _canceller) = under_token(&parent, &token);
    token.cancel();
    told(&canceller, "parent");
    assert!(why(&ctx).unwrap().contains("by the token"));
    assert!(why(&parent).unwrap().contains("parent"));
}
