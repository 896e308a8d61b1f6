//! Looking at a tree that lives.

use std::time::Duration;

use downhaul_context::{CauseKind, Context, Level, Reason};

#[test]
fn what_never_ends_was_made_where_it_was_asked_for() {
    let ctx = Context::background();
    for ctx in [&ctx, &ctx.detached()] {
        assert_eq!(ctx.snapshot().entries()[0].location.file(), file!());
    }
}

#[tokio::test(start_paused = true)]
async fn an_observed_tree_is_listed_from_birth_with_levels_ages_and_times_left() {
    let (service, stop) = Context::background().derive().label("orders").observed().build();
    tokio::time::advance(Duration::from_secs(3)).await;
    let limit = Duration::from_secs(5);
    let (request, _request) = service.derive().label("GET /orders").timeout(limit).build();
    let (_query, _query_canceller) = request.derive().label("db.query").build();
    let _kept = request.on_done(drop);
    tokio::time::advance(Duration::from_secs(1)).await;
    stop.drain(Duration::from_secs(30));

    let snapshot = service.snapshot();
    let told = |entry: &downhaul_context::SnapshotEntry| {
        let secs = |span: Option<Duration>| span.map(|span| span.as_secs());
        (entry.depth, entry.label.clone().unwrap(), secs(entry.age), secs(entry.remaining))
    };
    let told: Vec<_> = snapshot.entries().iter().map(told).collect();
    let expected = [
        (0, "orders".to_owned(), Some(4), Some(30)),
        (1, "GET /orders".to_owned(), Some(1), Some(4)),
        (2, "db.query".to_owned(), Some(1), Some(4)),
    ];
    assert_eq!(told, expected);
    assert!(snapshot.entries().iter().all(|entry| entry.level == Level::Draining));
    assert_eq!(snapshot.entries()[1].waiters, 1);
    let text = snapshot.to_string();
    let line = "  GET /orders: draining, 1s old, 4s left, 1 waiting, made at ";
    assert!(text.lines().nth(1).unwrap().starts_with(line), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_time_left_is_that_of_the_first_grace_at_a_context_or_above() {
    let seconds = Duration::from_secs;
    let (service, stop) = Context::background().derive().observed().build();
    let (request, canceller) = service.child();
    let (_query, _query_canceller) = request.child();
    let left = || {
        let snapshot = service.snapshot();
        snapshot.entries().iter().map(|entry| entry.remaining.unwrap()).collect::<Vec<_>>()
    };
    stop.drain(seconds(30));
    assert_eq!(left(), [seconds(30); 3]);
    canceller.drain(seconds(2));
    assert_eq!(left(), [seconds(30), seconds(2), seconds(2)]);
}

#[test]
fn below_a_context_that_ended_each_is_listed_with_the_cause_that_ended_it() {
    let (service, stop) = Context::background().derive().observed().build();
    let (_held, _held_canceller) = service.child();
    let (_left, left_canceller) = service.child();
    left_canceller.cancel_with(Reason::client_gone());
    stop.cancel_with(Reason::signal("SIGTERM"));
    let snapshot = service.snapshot();
    let kinds: Vec<_> =
        snapshot.entries().iter().map(|entry| entry.cause.as_ref().unwrap().kind()).collect();
    assert_eq!(kinds, [CauseKind::Signal, CauseKind::Signal, CauseKind::ClientGone]);
}

#[test]
fn a_context_that_ended_and_is_still_held_is_listed_with_its_cause() {
    let (service, _service) = Context::background().derive().observed().build();
    let limit = Duration::from_secs(60);
    let (request, canceller) = service.derive().label("GET /slow").timeout(limit).build();
    canceller.cancel();
    let snapshot = service.snapshot();
    assert_eq!(snapshot.entries()[1].level, Level::Done);
    let text = snapshot.to_string();
    assert!(text.contains("GET /slow: done, ") && !text.contains(" left, "), "{text}");
    drop((request, canceller));
    assert_eq!(service.snapshot().entries().len(), 1);
}

#[test]
fn without_observation_what_is_waited_on_is_listed() {
    let (root, _root) = Context::root();
    let ((waited, _waited), (_idle, _idle_canceller)) = (root.child(), root.child());
    let _registration = waited.on_done(drop);
    assert_eq!(root.snapshot().entries().len(), 2);
}

#[test]
fn a_very_deep_tree_is_listed_without_recursion() {
    let (root, _root) = Context::background().derive().observed().build();
    let (mut leaf, mut kept) = (root.clone(), Vec::new());
    let depth = if cfg!(miri) { 100 } else { 100_000 };
    for _ in 0..depth {
        let (child, canceller) = leaf.child();
        kept.push(canceller);
        leaf = child;
    }
    assert_eq!(root.snapshot().entries().last().unwrap().depth, depth);
    kept.into_iter().for_each(downhaul_context::Canceller::disarm);
}
