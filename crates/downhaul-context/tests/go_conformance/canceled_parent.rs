//! Go's `TestWithCancelCanceledParent`. That of a parent that is cancelled meanwhile is in
//! `races.rs`.

use downhaul_context::{CauseKind, Context, Reason};

use crate::common::{SECOND, assert_ended, known_below, observed_root, why};

/// Go 55, 56, 57, Extra A7, E3: whatever kind of child it is.
#[test]
fn a_child_of_an_ended_parent_is_born_ended_for_the_same_cause() {
    let (parent, canceller) = Context::root();
    canceller.cancel_with(Reason::signal("SIGTERM"));
    let (merged, _merged) = Context::background().merged(&parent);
    let (foreign, _foreign) = parent.child_until(std::future::pending());
    let ((child, _child), (timed, _timed)) = (parent.child(), parent.with_timeout(SECOND));
    for ctx in [&child, &timed, &merged, &foreign, &child.with_value(7_u8)] {
        assert_ended(ctx, CauseKind::Signal);
        assert_eq!(why(ctx), why(&parent));
    }
}

/// Go 56: the second to cancel is not the one who did it.
#[test]
fn the_canceller_of_a_child_that_was_born_ended_ends_nothing() {
    let (parent, parent_canceller) = observed_root();
    parent_canceller.cancel();
    let (child, canceller) = parent.child();
    assert!(!canceller.cancel_with(Reason::client_gone()));
    assert_eq!(why(&child), why(&parent));
    drop((child, canceller));
    assert_eq!(known_below(&parent), 0);
}
