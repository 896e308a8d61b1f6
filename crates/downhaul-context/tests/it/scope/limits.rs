//! How many tasks run at once, and when none is started.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use downhaul_context::scope::Refused;
use downhaul_context::{CauseKind, Context, Reason, Scope};
use tokio::task::yield_now;

use super::{SECOND, obedient, scope};

#[tokio::test(start_paused = true)]
async fn a_spawn_at_the_limit_is_refused_and_works_after_a_task_ended() {
    let scope = scope().limit(2);
    let first = scope.spawn("one", obedient).unwrap();
    scope.spawn_blocking("two", |_ctx| Ok(())).unwrap().await.unwrap();
    scope.spawn("three", obedient).unwrap();
    let refused = scope.spawn("four", obedient).unwrap_err();
    assert!(matches!(refused, Refused::Full { limit: 2, .. }), "{refused}");
    assert_eq!(refused.to_string(), "the scope is full: 2 tasks at once are allowed");
    assert!(scope.spawn_blocking("five", |_ctx| Ok(())).is_err());
    first.cancel();
    first.await.unwrap_err();
    assert!(scope.spawn("six", obedient).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_none_blocks_all() {
    let (parent, canceller) = Context::root();
    let scope = Scope::new(&parent, "orders").limit(0);
    assert!(matches!(scope.spawn("one", obedient), Err(Refused::Full { limit: 0, .. })));
    assert!(tokio::time::timeout(SECOND, scope.slot()).await.is_err());
    canceller.cancel();
    assert!(matches!(scope.slot().await, Err(Refused::Ended(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn never_more_tasks_than_the_limit_run_at_once() {
    const LIMIT: usize = 3;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let scope = scope().limit(LIMIT);
    for _ in 0..500 {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        let task = move |_ctx| async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            yield_now().await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        scope.slot().await.unwrap().spawn("one", task).unwrap();
    }
    assert_eq!(scope.join(60 * SECOND).await.counts.finished, 500);
    assert!((1..=LIMIT).contains(&most.load(Ordering::SeqCst)));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_started_in_a_scope_that_has_ended() {
    let (parent, canceller) = Context::root();
    let scope = Scope::new(&parent, "orders");
    let limited = scope.child("lines").limit(1);
    let slot = limited.slot().await.unwrap();
    canceller.cancel_with(Reason::signal("SIGTERM"));
    let refused = scope.spawn("one", obedient).unwrap_err();
    let Refused::Ended(cause) = &refused else { panic!("{refused}") };
    assert_eq!(cause.kind(), CauseKind::Signal);
    assert_eq!(refused.source().unwrap().to_string(), cause.to_string());
    assert!(matches!(scope.spawn_blocking("two", |_ctx| Ok(())), Err(Refused::Ended(_))));
    assert!(matches!(limited.spawn("three", obedient), Err(Refused::Ended(_))));
    assert!(matches!(slot.spawn("four", obedient), Err(Refused::Ended(_))));
    let report = scope.join(SECOND).await;
    assert_eq!(report.counts, downhaul_context::scope::Counts::default());
}

#[tokio::test(start_paused = true)]
async fn a_slot_takes_its_room_and_gives_it_back() {
    let scope = scope().limit(1);
    let slot = scope.slot().await.unwrap();
    assert!(scope.spawn("one", obedient).is_err());
    assert!(tokio::time::timeout(SECOND, scope.slot()).await.is_err());
    drop(slot);
    let slot = scope.slot().await.unwrap();
    let task = slot.spawn("two", obedient).unwrap();
    assert!(scope.spawn("three", obedient).is_err());
    task.cancel();
    // The one that waits is woken by the task's end.
    let slot = tokio::time::timeout(SECOND, scope.slot()).await.unwrap().unwrap();
    assert_eq!(slot.spawn_blocking("four", |_ctx| Ok(4)).unwrap().await.unwrap(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_a_task_passes_on_is_a_cancel_like_its_cause() {
    let (parent, canceller) = Context::root();
    let scope = Arc::new(Scope::new(&parent, "orders"));
    let inner = Arc::clone(&scope);
    let task = scope
        .spawn("one", move |ctx| async move {
            ctx.done().await;
            inner.spawn("two", obedient)?;
            Ok(())
        })
        .unwrap();
    canceller.cancel();
    task.await.unwrap_err();
    assert_eq!(scope.join(SECOND).await.counts.cancelled, 1);
}
