//! Go's `TestWithoutCancel`: our `detached`.

use downhaul_context::{CauseKind, Context};

use crate::common::{SECOND, assert_live, known_below, observed_root};

/// Go 87, 88, 89, 90, Extra B6: and it ends no more than a background context does.
#[test]
fn a_detached_context_has_the_values_and_neither_the_end_nor_the_deadline() {
    let (request, canceller) = Context::background().with_value(7_u8).with_timeout(SECOND);
    let detached = request.detached();
    canceller.cancel();
    assert_live(&detached);
    assert_eq!((detached.deadline(), detached.value()), (None, Some(&7_u8)));
}

/// Extra B6: a fork is a tree of its own.
#[test]
fn what_is_derived_from_a_detached_context_ends_by_itself_alone() {
    let (request, canceller) = observed_root();
    let (undo, undo_canceller) = request.detached().with_timeout(SECOND);
    assert_eq!(known_below(&request), 0);
    canceller.cancel();
    assert!(!undo.is_done());
    assert!(undo_canceller.cancel());
    assert_eq!(undo.cause().unwrap().kind(), CauseKind::Cancelled);
}
