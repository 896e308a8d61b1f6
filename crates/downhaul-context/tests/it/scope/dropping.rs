//! Scopes that nobody joins.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use downhaul_context::scope::TaskErrorKind;
use downhaul_context::{CauseKind, Context, Level, Scope};
use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::{obedient, scope, stubborn};

#[test]
fn a_child_of_a_scope_that_ended_is_born_ended() {
    let (parent, canceller) = Context::root();
    let scope = Scope::new(&parent, "orders");
    canceller.cancel();
    assert_eq!(scope.child("lines").ctx().level(), Level::Done);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_scope_ends_its_context_and_aborts_its_tasks() {
    let scope = scope();
    let ctx = scope.ctx().clone();
    let (gone, seen) = oneshot::channel::<()>();
    let task = scope
        .spawn("one", |ctx| async move {
            let _gone = gone;
            stubborn(ctx).await
        })
        .unwrap();
    yield_now().await;
    drop(scope);
    assert_eq!(ctx.cause().unwrap().kind(), CauseKind::Dropped);
    assert!(seen.await.is_err(), "what the task held is dropped");
    assert_eq!(task.await.unwrap_err().kind(), TaskErrorKind::Aborted);
}

#[tokio::test]
async fn a_blocking_task_hears_of_the_drop_by_its_context() {
    let scope = scope();
    let (begin, begun) = mpsc::channel();
    let task = scope
        .spawn_blocking("one", move |ctx| {
            begin.send(())?;
            while !ctx.is_done() {
                std::thread::yield_now();
            }
            Ok(ctx.check()?)
        })
        .unwrap();
    begun.recv().unwrap();
    drop(scope);
    assert_eq!(task.await.unwrap_err().kind(), TaskErrorKind::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_scope_dropped_with_the_future_that_owns_it_leaves_no_task() {
    let (gone, seen) = oneshot::channel::<()>();
    let owner = tokio::spawn(async move {
        let scope = scope();
        scope
            .spawn("one", |ctx| async move {
                let _gone = gone;
                obedient(ctx).await
            })
            .unwrap();
        std::future::pending::<()>().await;
        drop(scope);
    });
    yield_now().await;
    owner.abort();
    assert!(seen.await.is_err());
}

/// Notes how much the scope had in flight when a task dropped what it held.
struct Witness(Arc<Scope>, mpsc::Sender<usize>);

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.1.send(self.0.in_flight().len());
    }
}

#[tokio::test]
async fn a_scope_lets_go_of_a_task_when_nothing_of_it_is_left() {
    let scope = Arc::new(scope().supervise());
    let (note, noted) = mpsc::channel();
    let witness = || Witness(Arc::clone(&scope), note.clone());
    let (finished, panicked, aborted, blocking) = (witness(), witness(), witness(), witness());
    let tasks = [
        scope.spawn("finished", |_ctx| async move {
            let _held = &finished;
            Ok(())
        }),
        scope.spawn("panicked", |_ctx| async move {
            let _held = panicked;
            panic!("at work")
        }),
        scope.spawn_blocking("blocking", move |_ctx| {
            let _held = &blocking;
            Ok(())
        }),
    ];
    for task in tasks {
        let _ = task.unwrap().await;
        assert!(noted.recv().unwrap() > 0);
    }
    let begun = scope.spawn("begun", |ctx| async move {
        let _held = &aborted;
        stubborn(ctx).await
    });
    yield_now().await;
    let fresh = witness();
    let fresh = scope.spawn("not begun", |ctx| async move {
        let _held = &fresh;
        stubborn(ctx).await
    });
    let report = scope.join(Duration::ZERO).await;
    assert_eq!(report.counts.aborted, 2);
    drop((begun, fresh));
    let noted: Vec<_> = noted.try_iter().collect();
    assert!(noted.len() == 2 && !noted.contains(&0), "{noted:?}");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_handle_of_a_task_changes_nothing() {
    let scope = scope();
    let (done, seen) = oneshot::channel();
    drop(scope.spawn("one", |_ctx| async { Ok(done.send(7)) }).unwrap());
    assert_eq!(seen.await, Ok(7));
}

#[tokio::test(start_paused = true)]
async fn a_scope_ends_with_its_parent() {
    let (parent, canceller) = Context::root();
    let scope = Scope::new(&parent, "orders");
    let task = scope.spawn("one", obedient).unwrap();
    yield_now().await;
    canceller.cancel();
    assert_eq!(task.await.unwrap_err().kind(), TaskErrorKind::Cancelled);
    scope.closed().await;
}

#[test]
#[should_panic(expected = "no reactor running")]
fn a_spawn_without_a_runtime_panics_where_it_was_called() {
    let _ = scope().spawn("one", obedient);
}

#[test]
fn tasks_end_as_aborted_with_their_runtime() {
    let scope = scope();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    {
        let _within = runtime.enter();
        scope.spawn("one", obedient).unwrap();
    }
    drop(runtime);
    assert!(scope.in_flight().is_empty());
    scope.drain(Duration::MAX);
    assert!(scope.ctx().is_done());
}
