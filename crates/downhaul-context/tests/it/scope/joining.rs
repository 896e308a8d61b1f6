//! Waiting for the work to end.

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use downhaul_context::{CauseKind, Context, Instant, Scope};
use tokio::sync::oneshot;

use super::{SECOND, obedient, scope};

#[tokio::test(start_paused = true)]
async fn the_context_has_ended_after_a_join_also_without_a_failure() {
    let scope = scope();
    scope.spawn("one", |_ctx| async { Ok(()) }).unwrap();
    let report = scope.join(SECOND).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.counts.finished, 1);
    assert!(scope.ctx().is_done());
    assert_eq!(report.cause.kind(), CauseKind::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_tasks_and_their_children() {
    let scope = scope();
    let (finish, told) = oneshot::channel::<()>();
    let done = Arc::new(AtomicBool::new(false));
    let child = scope.child("lines");
    let late = Arc::clone(&done);
    scope
        .spawn("parent", move |_ctx| async move {
            child.spawn("child", move |_ctx| async move {
                told.await?;
                late.store(true, Ordering::SeqCst);
                Ok(())
            })?;
            child.join(Duration::MAX).await;
            Ok(())
        })
        .unwrap();
    let mut join = pin!(scope.join(Duration::MAX));
    assert!(poll_fn(|cx| Poll::Ready(join.as_mut().poll(cx))).await.is_pending());
    finish.send(()).unwrap();
    assert!(join.await.is_clean());
    assert!(done.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_work_of_a_child_scope_that_nobody_joins() {
    let scope = scope();
    let child = scope.child("lines");
    child.spawn("late", obedient).unwrap();
    let began = Instant::now();
    let report = scope.join(SECOND).await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(began.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_idle_child_scope_holds_nobody_up() {
    let scope = scope();
    let _idle = scope.child("lines");
    let began = Instant::now();
    assert!(scope.join(SECOND).await.is_clean());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn it_ends_the_context_when_the_budget_is_over() {
    let scope = scope();
    scope.spawn("one", obedient).unwrap();
    let began = Instant::now();
    let line = line!() + 1;
    let report = scope.join(5 * SECOND).await;
    assert_eq!(began.elapsed(), 5 * SECOND);
    let words = format!("its join budget of 5s is over, at {}:{line}:", file!());
    assert!(report.cause.to_string().contains(&words), "{}", report.cause);
    assert_eq!((report.counts.cancelled, report.is_clean()), (1, true));
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_has_ended_has_the_cancel_grace_and_not_the_budget() {
    let (parent, canceller) = Context::root();
    let scope = Scope::new(&parent, "orders").cancel_grace(2 * SECOND);
    scope
        .spawn("flush", |ctx| async move {
            ctx.done().await;
            tokio::time::timeout(SECOND, pending::<()>()).await.unwrap_err();
            Ok("flushed")
        })
        .unwrap();
    scope.spawn("stuck", super::stubborn).unwrap();
    canceller.cancel();
    let began = Instant::now();
    let report = scope.join(3600 * SECOND).await;
    assert_eq!(began.elapsed(), 2 * SECOND);
    assert_eq!((report.counts.finished, report.counts.aborted), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_join_that_was_dropped_can_be_called_again() {
    let scope = scope();
    scope.spawn("one", |_ctx| async { Ok(()) }).unwrap();
    let task = scope.spawn("two", obedient).unwrap();
    let join = tokio::time::timeout(SECOND, scope.join(60 * SECOND));
    assert!(join.await.is_err());
    assert!(!scope.ctx().is_done());
    assert!(scope.spawn("three", |_ctx| async { Ok(()) }).is_ok());
    task.cancel();
    let report = scope.join(60 * SECOND).await;
    assert_eq!((report.counts.finished, report.counts.cancelled), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_joined_scope_reports_the_same_again() {
    let scope = scope();
    scope.spawn("one", |_ctx| async { Ok(()) }).unwrap();
    let report = scope.join(SECOND).await;
    assert_eq!(scope.join(SECOND).await.to_string(), report.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_task_has_a_context_of_its_own_that_ends_with_it() {
    let scope = scope();
    let mut task = scope.spawn("one", |ctx| async move { Ok(ctx) }).unwrap();
    let ctx = (&mut task).await.unwrap();
    assert_eq!(ctx.path(), "orders > one");
    assert_eq!(ctx.cause().unwrap().kind(), CauseKind::Dropped);
    assert!(!task.cancel(), "there is nothing left to cancel");
    assert!(!scope.ctx().is_done());
}
