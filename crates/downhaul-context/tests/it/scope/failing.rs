//! What becomes of the others when a task fails.

use std::error::Error;
use std::io;

use downhaul_context::scope::{BoxError, TaskError, TaskErrorKind};
use downhaul_context::{CauseKind, Context};
use tokio::sync::oneshot;

use super::{SECOND, obedient, scope};

async fn fail(_ctx: Context) -> Result<(), BoxError> {
    Err(io::Error::other("disk full").into())
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_in_time_is_the_first_in_the_report() {
    let scope = scope();
    let (fail_now, told) = oneshot::channel::<()>();
    scope
        .spawn("late", |_ctx| async {
            told.await?;
            Err::<(), _>("late".into())
        })
        .unwrap();
    scope.spawn("early", |_ctx| async { Err::<(), _>("early".into()) }).unwrap();
    scope.ctx().done().await;
    fail_now.send(()).unwrap();
    let report = scope.join(SECOND).await;
    assert_eq!(report.first_error().unwrap().work().name, "early");
    assert_eq!(report.counts.failed, 2);
    assert!(!report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn the_cause_names_the_task_that_failed_and_carries_its_error() {
    let scope = scope();
    let line = line!() + 1;
    scope.spawn("store", fail).unwrap();
    let cause = scope.ctx().done().await;
    assert_eq!((cause.kind(), cause.path()), (CauseKind::TaskFailed, "orders > store"));
    assert_eq!((cause.location().file(), cause.location().line()), (file!(), line));
    let begin = format!("task failed: \"orders > store\" spawned at {}:{line}:", file!());
    assert!(cause.to_string().starts_with(&begin), "{cause}");
    let error: &io::Error = cause.source().unwrap().downcast_ref().unwrap();
    assert_eq!(error.to_string(), "disk full");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_failures_that_race_the_one_in_the_cause_is_the_first_in_the_report() {
    for _ in 0..200 {
        let scope = scope();
        for name in ["a", "b", "c", "d"] {
            let _ = scope.spawn(name, fail);
        }
        let report = scope.join(60 * SECOND).await;
        let first = report.first_error().unwrap();
        assert_eq!(report.cause.path(), format!("orders > {}", first.work().name), "{report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_ends_the_context_and_so_the_other_tasks() {
    let scope = scope();
    let other = scope.spawn("other", obedient).unwrap();
    scope.spawn("store", fail).unwrap();
    assert_eq!(other.await.unwrap_err().kind(), TaskErrorKind::Cancelled);
    assert!(scope.ctx().is_done());
    let counts = scope.join(SECOND).await.counts;
    assert_eq!((counts.failed, counts.cancelled), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_only_records_failures() {
    let scope = scope().supervise();
    let other = scope.spawn("other", |_ctx| async { Ok(7) }).unwrap();
    let failed = scope.spawn("store", fail).unwrap();
    assert_eq!(failed.await.unwrap_err().kind(), TaskErrorKind::Failed);
    assert!(!scope.ctx().is_done());
    assert_eq!(other.await.unwrap(), 7);
    let report = scope.join(SECOND).await;
    assert_eq!((report.counts.finished, report.counts.failed), (1, 1));
    assert_eq!(report.cause.kind(), CauseKind::Cancelled);
    assert_eq!(report.first_error().unwrap().source().unwrap().to_string(), "disk full");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_cancelled_fails_nobody() {
    let scope = scope();
    let task = scope.spawn("one", obedient).unwrap();
    assert!(task.cancel());
    assert!(!task.cancel());
    assert_eq!(task.await.unwrap_err().kind(), TaskErrorKind::Cancelled);
    assert!(!scope.ctx().is_done());
    let report = scope.join(SECOND).await;
    assert_eq!((report.counts.cancelled, report.cancelled.len()), (1, 1));
    assert!(report.is_clean(), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_wrapped_in_the_tasks_own_error_is_still_a_cancel() {
    let scope = scope();
    let task = scope
        .spawn("one", |ctx| async move {
            let stopped = ctx.run(std::future::pending::<()>()).await;
            stopped.map_err(io::Error::other)?;
            Ok(())
        })
        .unwrap();
    task.cancel();
    assert_eq!(task.await.unwrap_err().kind(), TaskErrorKind::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_the_task_set_itself_is_a_failure() {
    let scope = scope();
    let task = scope
        .spawn("query", |ctx| async move {
            let (ctx, _canceller) = ctx.with_timeout(SECOND);
            ctx.run(std::future::pending::<()>()).await?;
            Ok(())
        })
        .unwrap();
    assert_eq!(task.await.unwrap_err().kind(), TaskErrorKind::Failed);
    assert_eq!(scope.ctx().cause().unwrap().kind(), CauseKind::TaskFailed);
}

#[tokio::test(start_paused = true)]
async fn so_it_is_if_the_scope_has_ended_meanwhile() {
    let scope = scope();
    let task = scope
        .spawn("query", |outer| async move {
            let (ctx, _canceller) = outer.with_timeout(SECOND);
            let late = ctx.done().await;
            outer.done().await;
            Err::<(), _>(late.into())
        })
        .unwrap();
    scope.drain(2 * SECOND);
    assert_eq!(task.await.unwrap_err().kind(), TaskErrorKind::Failed);
}

#[tokio::test(start_paused = true)]
async fn an_error_after_the_end_that_is_not_the_cause_is_a_failure() {
    let scope = scope();
    let task = scope
        .spawn("flush", |ctx| async move {
            ctx.done().await;
            Err::<(), _>("could not flush".into())
        })
        .unwrap();
    task.cancel();
    assert_eq!(task.await.unwrap_err().kind(), TaskErrorKind::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_panic_counts_as_a_failure_and_keeps_its_message() {
    let scope = scope();
    let other = scope.spawn("other", obedient).unwrap();
    let task =
        scope.spawn::<(), _, _>("one", |ctx| async move { panic!("no\n{}", ctx.path()) }).unwrap();
    let error = task.await.unwrap_err();
    assert_eq!(error.kind(), TaskErrorKind::Panicked);
    assert!(error.to_string().ends_with("panicked after 0ms: no\\norders > one"), "{error}");
    assert!(other.await.is_err());
    let report = scope.join(SECOND).await;
    assert_eq!((report.counts.panicked, report.counts.failed), (1, 0));
    assert!(!report.is_clean());
}

#[tokio::test(start_paused = true)]
async fn the_cause_of_a_panic_has_the_tasks_error_as_its_source_since_the_task_gave_none() {
    let scope = scope();
    let line = line!() + 1;
    scope.spawn::<(), _, _>("one", |_ctx| async { panic!("no {}", "luck") }).unwrap();
    let cause = scope.ctx().done().await;
    assert_eq!((cause.kind(), cause.path()), (CauseKind::TaskFailed, "orders > one"));
    assert_eq!((cause.location().file(), cause.location().line()), (file!(), line));
    let error: &TaskError = cause.source().unwrap().downcast_ref().unwrap();
    assert_eq!(error.kind(), TaskErrorKind::Panicked);
    assert!(error.to_string().ends_with("no luck"), "{error}");
}

#[tokio::test]
async fn a_panic_is_caught_wherever_it_happens() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    fn not_even_a_future(_ctx: Context) -> std::future::Ready<Result<(), BoxError>> {
        panic!("no future")
    }
    let scope = scope().supervise();
    let closure = scope.spawn("closure", not_even_a_future).unwrap();
    let blocking = scope.spawn_blocking::<(), _>("blocking", |_ctx| panic!("at work")).unwrap();
    let bomb = Bomb;
    let destructor = scope
        .spawn("destructor", |_ctx| async move {
            let _bomb = &bomb;
            Ok(())
        })
        .unwrap();
    for task in [closure, blocking, destructor] {
        assert_eq!(task.await.unwrap_err().kind(), TaskErrorKind::Panicked);
    }
    assert_eq!(scope.join(60 * SECOND).await.counts.panicked, 3);
}
