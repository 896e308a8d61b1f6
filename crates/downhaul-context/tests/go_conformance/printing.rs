//! Go's string forms: `TestBackground` to `TestTimeout`, `TestValues`, `TestLayersCancel`.
//!
//! Go prints how a context was made, `context.Background.WithCancel`. We print what it is for: the
//! labels from the root. A value is printed by nobody's accident.

use downhaul_context::Context;

use crate::common::SECOND;

struct Secret(&'static str);

/// Go 3, 6, 7, 22, 28: how a context was made is not in its path.
#[test]
fn a_context_without_labels_has_an_empty_path() {
    let background = Context::background();
    let (cancellable, _canceller) = background.child();
    let (timed, _timed) = cancellable.with_timeout(SECOND);
    for ctx in [&background, &cancellable, &timed] {
        assert_eq!(ctx.path(), "");
    }
}

/// Go 7, 22, 28, 46: a context that is not labelled is in no path.
#[test]
fn a_path_is_the_labels_from_the_root_whatever_is_in_between() {
    let (orders, _orders) = Context::background().derive().label("orders").build();
    let (unnamed, _unnamed) = orders.with_value(7_u8).with_timeout(SECOND);
    let (query, _query) = unnamed.derive().label("db.query").timeout(SECOND).build();
    assert_eq!(query.path(), "orders > db.query");
    assert_eq!(unnamed.path(), "orders");
    assert!(format!("{query:?}").contains("orders > db.query"), "{query:?}");
}

/// Go 41: Go prints a value that can be printed; we print none that was not opted in.
#[test]
fn printing_a_context_prints_no_value_also_not_one_that_can_be_printed() {
    let one = Context::background().with_value("hunter2");
    let four = one.with_value(Secret("hunter2")).with_value(7_u8).with_value(None::<String>);
    for ctx in [&one, &four] {
        assert!(!format!("{ctx:?}").contains("hunter2"), "{ctx:?}");
        assert!(!format!("{ctx:#?}").contains("hunter2"), "{ctx:#?}");
    }
    assert_eq!(four.value::<Secret>().unwrap().0, "hunter2");
}
