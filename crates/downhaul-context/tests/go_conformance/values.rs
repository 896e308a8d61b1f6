//! Go's `TestValues`. Keys are types: one that cannot be compared, or none, cannot be written down.

use std::future::pending;

use downhaul_context::Context;

use crate::common::SECOND;

#[derive(Debug, PartialEq)]
struct Alpha(u32);

#[derive(Debug, PartialEq)]
struct Beta(u32);

/// Go 34: nor has one that was derived from it.
#[test]
fn a_background_context_has_no_values() {
    let ctx = Context::background();
    assert_eq!((ctx.value::<Alpha>(), ctx.child().0.value::<Beta>()), (None, None));
}

/// Go 35, 36: what is equal inside does not matter.
#[test]
fn a_value_is_found_by_its_own_type_and_by_no_other() {
    let (ctx, _canceller) = Context::background().with_value(Alpha(1)).child();
    assert_eq!(ctx.value(), Some(&Alpha(1)));
    assert_eq!(ctx.value::<Beta>(), None);
    assert_eq!(ctx.value::<u32>(), None);
}

/// Go 37: in Go a type may be many keys. Here it is one, and two things are two types.
#[test]
fn two_values_of_one_type_share_a_key_and_the_nearer_is_found() {
    let outer = Context::background().with_value(Alpha(1));
    let inner = outer.with_value(Alpha(2));
    assert_eq!((outer.value(), inner.value()), (Some(&Alpha(1)), Some(&Alpha(2))));
}

/// Go 38: in any order.
#[test]
fn values_of_several_types_add_up() {
    let ctx = Context::background().with_value(Alpha(1)).with_value(Beta(2)).with_value("three");
    assert_eq!((ctx.value(), ctx.value()), (Some(&Alpha(1)), Some(&Beta(2))));
    assert_eq!(ctx.value(), Some(&"three"));
}

/// Go 39: who wants to clear a value binds an `Option`.
#[test]
fn binding_none_hides_a_value_in_that_branch_alone() {
    let bound = Context::background().with_value(Beta(2)).with_value(Some(Alpha(1)));
    let (cleared, _cleared) = bound.with_value(None::<Alpha>).child();
    assert_eq!(cleared.value::<Option<Alpha>>(), Some(&None));
    assert_eq!(bound.value::<Option<Alpha>>(), Some(&Some(Alpha(1))));
    assert_eq!(cleared.value(), Some(&Beta(2)));
}

/// Go 40: both ways, a foreign context around a value and a value around a foreign context.
#[test]
fn a_value_is_found_through_every_kind_of_context() {
    let (root, _root) = Context::root();
    let ctx = root.with_value(Alpha(1));
    let (other, _other) = root.with_value(Alpha(9)).child();
    let derived = [
        ctx.child_until(pending()),
        ctx.merged(&other),
        ctx.shielded(SECOND),
        ctx.detached().child(),
        ctx.with_timeout(SECOND),
    ];
    for (ctx, _canceller) in &derived {
        let around = ctx.with_value(Beta(2));
        assert_eq!((around.value(), around.value()), (Some(&Alpha(1)), Some(&Beta(2))));
        assert_eq!(ctx.value::<Beta>(), None);
    }
}
