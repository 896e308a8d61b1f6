//! What does not stop is a line in the report.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use downhaul_context::scope::{TaskErrorKind, WorkKind};
use downhaul_context::{Context, Scope};
use tokio::runtime::Builder;
use tokio::task::yield_now;

use super::{SECOND, obedient, scope, stubborn};

#[tokio::test(start_paused = true)]
async fn a_task_that_does_not_stop_is_aborted_and_named_with_place_and_age() {
    let scope = scope();
    let line = line!() + 1;
    let task = scope.spawn("leak", stubborn).unwrap();
    let report = scope.join(5 * SECOND).await;
    assert!(!report.is_clean());
    assert_eq!((report.counts.aborted, report.stragglers.len()), (1, 0));
    let leak = &report.aborted[0];
    assert_eq!((&*leak.name, leak.location.file(), leak.location.line()), ("leak", file!(), line));
    assert_eq!((leak.kind, leak.age), (WorkKind::Task, Duration::from_millis(5500)));
    assert_eq!(task.await.unwrap_err().kind(), TaskErrorKind::Aborted);
}

#[tokio::test(start_paused = true)]
async fn a_task_has_no_more_than_the_cancel_grace_also_under_a_shielded_context() {
    for (grace, is_clean) in [(SECOND / 2, false), (5 * SECOND, true)] {
        let scope = scope().cancel_grace(grace);
        let cleans_up = |ctx: Context| async move {
            let cause = ctx.done().await;
            let (cleanup, _cleanup) = ctx.shielded(5 * SECOND);
            cleanup.run(tokio::time::sleep(4 * SECOND)).await?; // tidy: on the paused clock
            Err(cause.into())
        };
        scope.spawn::<(), _, _>("undo", cleans_up).unwrap();
        let report = scope.join(Duration::ZERO).await;
        assert_eq!(report.aborted.is_empty(), is_clean, "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_blocking_task_that_does_not_look_is_left_behind_and_named() {
    let scope = Arc::new(scope());
    let (begin, begun) = mpsc::channel::<()>();
    let (release, released) = mpsc::channel::<()>();
    let hash = move |_ctx| {
        begin.send(())?;
        Ok(released.recv()?)
    };
    let line = line!() + 1;
    let block = scope.spawn_blocking("hash", hash).unwrap();
    begun.recv().unwrap();
    let joining = Arc::clone(&scope);
    let join = tokio::spawn(async move { joining.join(SECOND).await });
    yield_now().await;
    // The paused clock does not move by itself while a thread blocks.
    while !join.is_finished() {
        tokio::time::advance(Duration::from_millis(10)).await;
        yield_now().await;
    }
    let report = join.await.unwrap();
    let hash = &report.stragglers[0];
    assert_eq!((&*hash.name, hash.location.file(), hash.location.line()), ("hash", file!(), line));
    assert_eq!(hash.kind, WorkKind::Blocking);
    // Budget and cancel grace, and no wait for what cannot be aborted.
    assert_eq!(hash.age, Duration::from_millis(1500));
    assert!(report.to_string().contains("\n  blocking task \"hash\" spawned at "), "{report}");
    release.send(()).unwrap();
    block.await.unwrap();
    scope.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_is_not_dropped_is_left_behind_and_named() {
    let scope = scope();
    let line = line!() + 1;
    let hold = scope.hold("upload").unwrap();
    let report = scope.join(SECOND).await;
    assert_eq!(
        (&*report.stragglers[0].name, report.stragglers[0].location.line()),
        ("upload", line)
    );
    assert_eq!(report.stragglers[0].age, Duration::from_millis(1500));
    assert!(!report.is_clean());
    assert!(scope.hold("late").is_err());
    drop(hold);
    scope.closed().await;
}

/// On a runtime of its own, where it blocks nobody else.
#[tokio::test(start_paused = true)]
async fn an_async_task_that_never_awaits_cannot_be_aborted_and_is_left_behind() {
    let scope = scope();
    let other = Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let (begin, begun) = mpsc::channel::<()>();
    let (release, released) = mpsc::channel::<()>();
    let spin = |_ctx| async move {
        begin.send(())?;
        Ok(released.recv()?)
    };
    {
        let _elsewhere = other.enter();
        scope.spawn("spin", spin).unwrap();
    }
    begun.recv().unwrap();
    let report = scope.join(SECOND).await;
    assert_eq!((report.counts.aborted, report.stragglers.len()), (0, 1));
    assert_eq!(report.stragglers[0].name, "spin");
    release.send(()).unwrap();
    scope.closed().await;
    other.shutdown_background();
}

#[tokio::test(start_paused = true)]
async fn what_is_left_in_a_child_scope_is_named_with_its_label() {
    let scope = scope();
    let child = scope.child("lines");
    let _hold = child.hold("upload").unwrap();
    child.spawn("leak", stubborn).unwrap();
    let report = scope.join(SECOND).await;
    assert_eq!(report.stragglers[0].name, "lines > upload");
    assert_eq!(report.stragglers.len(), 1, "the task was aborted: {report}");
    assert_eq!(child.join(SECOND).await.counts.aborted, 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_join_aborts_in_a_child_scope_is_in_the_report_of_that() {
    let scope = scope();
    let child = scope.child("lines");
    child.spawn("leak", stubborn).unwrap();
    assert!(scope.join(SECOND).await.is_clean());
    assert_eq!(child.join(SECOND).await.aborted[0].name, "leak");
}

#[tokio::test(start_paused = true)]
async fn a_child_scope_that_a_task_drops_with_a_blocking_task_still_shows() {
    let scope = Arc::new(scope());
    let child = scope.child("lines");
    let (begin, begun) = mpsc::channel::<()>();
    let (release, released) = mpsc::channel::<()>();
    let hash = move |_ctx| {
        begin.send(())?;
        Ok(released.recv()?)
    };
    scope
        .spawn("owner", move |_ctx| async move {
            child.spawn_blocking("hash", hash)?;
            begun.recv()?;
            Ok(())
        })
        .unwrap()
        .await
        .unwrap();
    assert_eq!(scope.in_flight()[0].name, "lines > hash");
    release.send(()).unwrap();
    scope.join(Duration::MAX).await;
    assert!(scope.in_flight().is_empty());
}

/// Whoever aborts all may come between the start of a task and the note of how to abort it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_is_spawned_while_all_are_aborted_is_aborted_too() {
    for _ in 0..500 {
        let scope = Arc::new(scope().cancel_grace(Duration::ZERO));
        let spawning = tokio::spawn({
            let scope = Arc::clone(&scope);
            async move {
                let spawned = |_| scope.spawn("leak", stubborn).ok();
                (0..).map_while(spawned).collect::<Vec<_>>()
            }
        });
        yield_now().await;
        scope.join(Duration::ZERO).await;
        for task in spawning.await.unwrap() {
            assert_eq!(task.await.unwrap_err().kind(), TaskErrorKind::Aborted);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_is_a_line_for_the_scope_and_one_for_each_that_did_not_end_well() {
    let parent = Context::background();
    let (scope, at) = (Scope::new(&parent, "orders").supervise(), line!());
    scope.spawn("fine", |_ctx| async { Ok(()) }).unwrap();
    let error = || std::io::Error::other("disk\nfull");
    scope.spawn("store", move |_ctx| async move { Err::<(), _>(error().into()) }).unwrap();
    scope.spawn("poll", obedient).unwrap();
    scope.spawn("leak", stubborn).unwrap();
    let _hold = scope.hold("upload").unwrap();
    let file = file!();
    let place = |line: u32, column: u32| format!("{file}:{}:{column}", at + line);
    assert_eq!(
        scope.join(SECOND).await.to_string(),
        format!(
            "scope \"orders\" made at {}: \
             1 finished, 1 failed, 1 cancelled, 1 aborted, 1 left behind\n  \
             task \"store\" spawned at {} failed after 0ms: disk\\nfull\n  \
             task \"poll\" spawned at {} was cancelled after 1s\n  \
             task \"leak\" spawned at {} was aborted after 1.5s\n  \
             hold \"upload\" taken at {} is still held after 1.5s",
            place(0, 24),
            place(3, 11),
            place(4, 11),
            place(5, 11),
            place(6, 23),
        )
    );
}
