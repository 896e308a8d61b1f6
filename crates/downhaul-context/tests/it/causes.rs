//! The first cause wins, and says who.

use std::error::Error;
use std::io;
use std::time::Duration;

use downhaul_context::{CauseKind, Context, Instant, Reason};

#[test]
fn a_cause_names_the_line_that_cancelled() {
    let (ctx, canceller) = Context::root();
    canceller.cancel();
    let cause = ctx.cause().unwrap();
    assert_eq!(cause.location().file(), file!());
    assert!(cause.to_string().starts_with("cancelled: at "), "{cause}");
}

#[test]
fn a_cause_is_one_line_whatever_is_in_its_label_and_its_words() {
    let (ctx, canceller) = Context::background().derive().label("db\nINFO").build();
    canceller.cancel_with(Reason::cancelled("paid\r\nINFO paid=true"));
    let line = r#"cancelled: "db\nINFO" paid\r\nINFO paid=true, at "#;
    assert!(ctx.cause().unwrap().to_string().starts_with(line));
    assert_eq!(ctx.snapshot().to_string().lines().count(), 1);
}

#[test]
fn a_parents_cause_before_the_childs_wins() {
    let (parent, parent_canceller) = Context::root();
    let (child, child_canceller) = parent.child();
    parent_canceller.cancel_with(Reason::signal("SIGTERM"));
    assert!(!child_canceller.cancel_with(Reason::client_gone()));
    assert_eq!(child.cause().unwrap().kind(), CauseKind::Signal);
}

#[test]
fn a_childs_cause_before_the_parents_stays_its_own() {
    let (parent, parent_canceller) = Context::root();
    let (child, child_canceller) = parent.child();
    child_canceller.cancel_with(Reason::client_gone());
    parent_canceller.cancel_with(Reason::signal("SIGTERM"));
    assert_eq!(child.cause().unwrap().kind(), CauseKind::ClientGone);
    assert_eq!(parent.cause().unwrap().kind(), CauseKind::Signal);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_nobody_watched_still_wins_over_a_later_cancel() {
    let (root, root_canceller) = Context::root();
    let (ctx, canceller) =
        root.derive().label("db.query").timeout(Duration::from_millis(250)).build();
    tokio::time::advance(Duration::from_millis(251)).await;
    assert!(!canceller.cancel());
    root_canceller.cancel();
    let cause = ctx.cause().unwrap();
    assert_eq!(cause.kind(), CauseKind::Deadline);
    assert_eq!(cause.budget(), Some(Duration::from_millis(250)));
    assert_eq!(cause.elapsed(), Some(Duration::from_millis(251)));
    let text = cause.to_string();
    assert!(text.starts_with("deadline exceeded: \"db.query\" budget 250ms set at "), "{text}");
    assert!(text.ends_with(", elapsed 251ms"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_was_past_when_it_was_set_counts_from_itself() {
    let past = Instant::now();
    tokio::time::advance(Duration::from_secs(2)).await;
    let (ctx, _canceller) = Context::background().with_deadline(past);
    let cause = ctx.cause().unwrap();
    assert_eq!(cause.budget(), Some(Duration::ZERO));
    assert_eq!(cause.elapsed(), Some(Duration::from_secs(2)));
}

#[tokio::test(start_paused = true)]
async fn an_ancestors_cancel_before_an_unwatched_deadline_wins() {
    let (root, root_canceller) = Context::root();
    let (ctx, _canceller) = root.with_timeout(Duration::from_millis(250));
    root_canceller.cancel();
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(ctx.cause().unwrap().kind(), CauseKind::Cancelled);
}

#[test]
fn the_error_behind_a_reason_is_the_source_of_the_cause() {
    let (ctx, canceller) = Context::root();
    canceller.cancel_with(Reason::component_failed("store", io::Error::other("disk full")));
    let cause = ctx.cause().unwrap();
    assert!(cause.to_string().starts_with("component failed: store"), "{cause}");
    assert_eq!(cause.source().unwrap().to_string(), "disk full");
}

#[test]
fn the_source_of_a_reason_is_kept_also_without_words_and_by_the_end_of_a_grace() {
    let reason = || Reason::cancelled("").with_source(io::Error::other("disk full"));
    let (ended, canceller) = Context::root();
    canceller.cancel_with(reason());
    let (drained, canceller) = Context::root();
    canceller.drain_with(Duration::ZERO, reason());
    for ctx in [ended, drained] {
        assert_eq!(ctx.cause().unwrap().source().unwrap().to_string(), "disk full");
    }
}

#[test]
fn a_path_lists_the_labels_from_the_root() {
    let (root, _root) = Context::background().derive().label("orders").build();
    let (unnamed, _unnamed) = root.child();
    let (leaf, canceller) = unnamed.derive().label("db.query").build();
    canceller.cancel();
    assert_eq!(leaf.path(), "orders > db.query");
    assert_eq!(leaf.cause().unwrap().path(), "orders > db.query");
}
