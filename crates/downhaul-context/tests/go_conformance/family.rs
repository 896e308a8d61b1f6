//! Go's `XTestParentFinishesChild`, `XTestChildFinishesFirst` and `XTestCancelRemoves`.
//!
//! Go looks into the parent's set of children. We look at its snapshot: below an observed context
//! all are known, and else those that are waited on.

use downhaul_context::{Canceller, CauseKind, Context, Level, Registration};

use crate::common::{SECOND, assert_ended, assert_live, known_below, observed_root, waiters};

/// A parent with a child, a timed child of a handle with a value, and a callback.
struct Family {
    parent: Context,
    canceller: Canceller,
    child: (Context, Canceller),
    value: Context,
    timed: (Context, Canceller),
    _callback: Registration,
}

impl Family {
    fn new() -> Self {
        let (parent, canceller) = observed_root();
        let child = parent.child();
        let value = parent.with_value(7_u8);
        let timed = value.with_timeout(3600 * SECOND);
        let _callback = parent.on_done(drop);
        Self { parent, canceller, child, value, timed, _callback }
    }
}

/// Go 11: none of the family has ended, nor begun to drain.
#[tokio::test]
async fn nothing_of_a_family_fires_before_the_cancel() {
    let family = Family::new();
    [&family.parent, &family.child.0, &family.value, &family.timed.0]
        .into_iter()
        .for_each(assert_live);
}

/// Go 12, 13: the callback is a waiter of the parent, not a child.
#[test]
fn a_parent_knows_its_children_and_a_handle_with_a_value_is_no_generation() {
    let family = Family::new();
    let snapshot = family.parent.snapshot();
    let depths: Vec<_> = snapshot.entries().iter().map(|entry| entry.depth).collect();
    assert_eq!(depths, [0, 1, 1]);
    assert_eq!(waiters(&family.parent), 1);
    assert!(family.value.is_same(&family.parent));
}

/// Go 14: where we differ, a child that has ended and is still held is listed, for it is work that
/// has not stopped.
#[test]
fn after_a_cancel_a_parent_knows_only_the_children_that_are_still_held() {
    let family = Family::new();
    family.canceller.cancel();
    drop(family.timed);
    let snapshot = family.parent.snapshot();
    let levels: Vec<_> = snapshot.entries().iter().map(|entry| entry.level).collect();
    assert_eq!(levels, [Level::Done, Level::Done]);
    drop(family.child);
    assert_eq!(known_below(&family.parent), 0);
}

/// Go 15: with the parent's cause, not with one of their own.
#[test]
fn a_parents_cancel_ends_its_children_of_every_kind() {
    let family = Family::new();
    family.canceller.cancel();
    for ctx in [&family.parent, &family.child.0, &family.value, &family.timed.0] {
        assert_ended(ctx, CauseKind::Cancelled);
    }
}

/// Go 16: a value changes nothing about a lifetime.
#[test]
fn a_value_bound_after_the_end_is_bound_to_an_ended_context() {
    let (ctx, canceller) = Context::root();
    canceller.cancel();
    let late = ctx.with_value(7_u8);
    assert_ended(&late, CauseKind::Cancelled);
    assert_eq!(late.value(), Some(&7_u8));
}

/// Go 17, 20, 21: under a parent that never ends, and under one that can.
#[test]
fn a_child_that_ends_first_leaves_its_parent_live() {
    let (root, _root) = Context::root();
    for parent in [Context::background(), root] {
        let (child, canceller) = parent.child();
        assert_live(&child);
        canceller.cancel();
        assert_ended(&child, CauseKind::Cancelled);
        assert_live(&parent);
    }
}

/// Go 18, Extra B1: there is nothing that a parent without an end could tell.
#[test]
fn a_waiting_child_is_known_to_its_parent_unless_that_never_ends() {
    let (root, _root) = Context::root();
    for (parent, known) in [(root, 1), (Context::background(), 0)] {
        let (child, _child) = parent.child();
        assert_eq!(known_below(&parent), 0, "nobody waits yet");
        let _callback = child.on_done(drop);
        assert_eq!((known_below(&parent), waiters(&parent)), (known, 0));
    }
}

/// Go 19, 52: Go unlinks at the cancel, we when the last handle goes.
#[test]
fn a_parent_forgets_a_child_that_was_cancelled_and_dropped() {
    let (parent, _parent) = observed_root();
    let (child, canceller) = parent.child();
    assert_eq!(known_below(&parent), 1);
    canceller.cancel();
    drop((child, canceller));
    assert_eq!(known_below(&parent), 0);
}

/// Go 53: as one without a deadline.
#[test]
fn a_parent_forgets_a_timed_child_that_was_cancelled_and_dropped() {
    let (parent, _parent) = observed_root();
    let (child, canceller) = parent.with_timeout(3600 * SECOND);
    assert_eq!(known_below(&parent), 1);
    canceller.cancel();
    drop((child, canceller));
    assert_eq!(known_below(&parent), 0);
}

/// Go 54: neither in the context nor in its parent.
#[test]
fn a_callback_that_was_stopped_leaves_nothing_behind() {
    let (parent, _parent) = Context::root();
    let (child, _child) = parent.child();
    let callbacks = [parent.on_done(drop), child.on_done(drop)];
    assert_eq!((waiters(&parent), waiters(&child)), (1, 1));
    assert_eq!(callbacks.map(Registration::stop), [true, true]);
    assert_eq!((waiters(&parent), waiters(&child)), (0, 0));
    drop((child, _child));
    assert_eq!(known_below(&parent), 0);
}
