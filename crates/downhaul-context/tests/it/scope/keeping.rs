//! What a scope keeps of tasks that have ended: as much after a million as after a few.

use std::fmt;
use std::future::pending;
use std::sync::Arc;

use super::{SECOND, scope};

/// An error that can be counted: by the handles to what is in it.
#[derive(Debug)]
struct Counted(#[expect(dead_code, reason = "is only counted")] Arc<()>);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("counted")
    }
}

impl std::error::Error for Counted {}

#[tokio::test]
async fn a_million_short_tasks_leave_nothing_but_a_count() {
    const TASKS: u64 = 1_000_000;
    let scope = scope().limit(64);
    let live = Arc::new(());
    for _ in 0..TASKS {
        let value = Arc::clone(&live);
        let slot = scope.slot().await.unwrap();
        slot.spawn("short", |_ctx| async { Ok(value) }).unwrap();
        assert!(Arc::strong_count(&live) <= 1 + 64);
    }
    let report = scope.join(60 * SECOND).await;
    assert_eq!((report.counts.finished, report.is_clean()), (TASKS, true));
    assert_eq!(Arc::strong_count(&live), 1);
    assert!(scope.in_flight().is_empty());
}

#[tokio::test]
async fn of_many_failures_the_first_are_kept_and_all_are_counted() {
    const TASKS: u64 = 1_000;
    let scope = scope().supervise().limit(1);
    let live = Arc::new(());
    for nr in 0..TASKS {
        let error = Counted(Arc::clone(&live));
        let slot = scope.slot().await.unwrap();
        slot.spawn(nr.to_string(), |_ctx| async { Err::<(), _>(error.into()) }).unwrap();
    }
    let report = scope.join(60 * SECOND).await;
    assert_eq!((report.counts.failed, report.errors.len()), (TASKS, 32));
    assert_eq!((&*report.errors[0].work().name, &*report.errors[31].work().name), ("0", "31"));
    assert_eq!(Arc::strong_count(&live), 1 + 32);
    assert!(report.to_string().ends_with("\n  968 more failed"), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_report_says_how_many_more_failed_and_how_many_were_cancelled() {
    let scope = scope().supervise();
    for _ in 0..40 {
        scope.spawn("obeys", |ctx| async move { Ok(ctx.run(pending::<()>()).await?) }).unwrap();
        scope.spawn("fails", |_ctx| async { Err::<(), _>("disk full".into()) }).unwrap();
    }
    let panics = scope.spawn("panics", |_ctx| async {
        if true {
            panic!("on purpose")
        }
        Ok(())
    });
    assert!(panics.unwrap().await.is_err());
    let report = scope.join(SECOND).await.to_string();
    let more: Vec<_> = report.lines().filter(|line| line.contains(" more ")).collect();
    assert_eq!(more, ["  9 more failed", "  8 more were cancelled"], "{report}");
}
