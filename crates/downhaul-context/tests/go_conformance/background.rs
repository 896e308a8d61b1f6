//! Go's `TestBackground`, `TestTODO` and `TestWithCancel`.

use std::time::Duration;

use downhaul_context::{CauseKind, Context};

use crate::common::{assert_ended, assert_live};

/// Go 2, 5: Go has two roots that never end, which differ in their names only; we have one.
#[test]
fn a_background_context_never_fires() {
    let ctx = Context::background();
    assert_live(&ctx);
    assert_eq!((ctx.deadline(), ctx.ends_at(), ctx.remaining()), (None, None, None));
}

/// Go 8: a wrapper is a handle with a value, or a child that adds nothing.
#[test]
fn a_fresh_context_its_wrapper_and_a_child_of_the_wrapper_are_live() {
    let (ctx, _canceller) = Context::root();
    let wrapper = ctx.with_value(7_u8);
    let (child, _child) = wrapper.child();
    [&ctx, &wrapper, &child].into_iter().for_each(assert_live);
    assert_eq!(ctx.deadline(), None);
}

/// Go 9, 10: and no later than when `cancel` returns.
#[test]
fn a_cancel_has_ended_itself_its_wrapper_and_its_child_when_it_returns() {
    let (ctx, canceller) = Context::root();
    let wrapper = ctx.with_value(7_u8);
    let (child, _child) = wrapper.with_timeout(Duration::MAX);
    assert!(canceller.cancel());
    [&ctx, &wrapper, &child].into_iter().for_each(|ctx| assert_ended(ctx, CauseKind::Cancelled));
}
