//! Scopes: tasks that end together, and a report that names those that do not.

use std::error::Error;
use std::future::pending;
use std::io;
use std::sync::mpsc;
use std::time::Duration;

use downhaul_context::scope::{BoxError, Refused, TaskErrorKind};
use downhaul_context::{CauseKind, Context, Level, Scope};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), BoxError> {
    let (service, _stop) = Context::root();
    fan_out(&service).await?;
    first_failure(&service).await?;
    own_deadline(&service).await?;
    supervised(&service).await?;
    limited(&service).await?;
    draining(&service).await?;
    leak(&service).await?;
    straggler(&service).await?;
    dropped(&service).await
}

async fn load(name: &str) -> io::Result<usize> {
    sleep(SECOND).await;
    Ok(name.len())
}

// ANCHOR: fan_out
async fn fan_out(ctx: &Context) -> Result<(), BoxError> {
    let scope = Scope::new(ctx, "page");
    let head = scope.spawn("head", |ctx| async move { Ok(ctx.run(load("head")).await??) })?;
    let list = scope.spawn("list", |ctx| async move { Ok(ctx.run(load("list")).await??) })?;
    assert_eq!(head.await? + list.await?, 8);

    // Now nothing runs any more that was begun here.
    let report = scope.join(SECOND).await;
    assert!(report.is_clean() && report.counts.finished == 2);
    Ok(())
}
// ANCHOR_END: fan_out

// ANCHOR: first_failure
async fn first_failure(ctx: &Context) -> Result<(), BoxError> {
    let scope = Scope::new(ctx, "import");
    scope.spawn("feed", |ctx| async move {
        ctx.run(pending::<()>()).await?; // ends with its context, and says so by `?`
        Ok(())
    })?;
    scope.spawn("rows", |_ctx| async { Err::<(), _>("no such table".into()) })?;

    let report = scope.join(60 * SECOND).await;
    println!("{report}");
    // scope "import" made at src/import.rs:51:17: 0 finished, 1 failed, 1 cancelled
    //   task "rows" spawned at src/import.rs:56:11 failed after 0ms: no such table
    //   task "feed" spawned at src/import.rs:52:11 was cancelled after 0ms
    assert_eq!((report.counts.failed, report.counts.cancelled), (1, 1));
    println!("{}", report.cause); // task failed: "import > rows" spawned at src/import.rs:56:11
    assert!(report.result().is_err_and(|error| error.work().name == "rows"));
    assert_eq!(report.cause.kind(), CauseKind::TaskFailed);
    assert!(report.cause.source().is_some_and(|error| error.to_string() == "no such table"));
    Ok(())
}
// ANCHOR_END: first_failure

// ANCHOR: own_deadline
async fn own_deadline(ctx: &Context) -> Result<(), BoxError> {
    // Wrong: a page without its prices is still a page, and this one ends with them.
    let scope = Scope::new(ctx, "page");
    let list = scope.spawn("list", |ctx| async move { Ok(ctx.run(sleep(2 * SECOND)).await?) })?;
    scope.spawn("prices", |ctx| async move {
        let (short, _short) = ctx.with_timeout(SECOND);
        Ok(short.run(pending::<()>()).await?) // its own deadline: a failure
    })?;
    assert!(list.await.is_err_and(|error| error.kind() == TaskErrorKind::Cancelled));

    // Right: what came too late is a value, and the end of the page still ends the task.
    let scope = Scope::new(ctx, "page");
    let list = scope.spawn("list", |ctx| async move { Ok(ctx.run(sleep(2 * SECOND)).await?) })?;
    let prices = scope.spawn("prices", |ctx| async move {
        let (short, _short) = ctx.with_timeout(SECOND);
        let prices = short.run(pending::<()>()).await.ok();
        ctx.check()?;
        Ok(prices)
    })?;
    assert_eq!(prices.await?, None);
    list.await?;
    Ok(())
}
// ANCHOR_END: own_deadline

// ANCHOR: supervised
async fn supervised(ctx: &Context) -> Result<(), BoxError> {
    let scope = Scope::new(ctx, "mails").supervise();
    let broken = scope.spawn("mail", |_ctx| async { Err::<(), _>("no such address".into()) })?;
    let sent = scope.spawn("mail", |ctx| async move { Ok(ctx.run(sleep(SECOND)).await?) })?;

    assert!(broken.await.is_err_and(|error| error.kind() == TaskErrorKind::Failed));
    sent.await?; // it has its own fate
    Ok(())
}
// ANCHOR_END: supervised

// ANCHOR: limited
async fn limited(ctx: &Context) -> Result<(), BoxError> {
    let scope = Scope::new(ctx, "connections").supervise().limit(2);
    for _ in 0..2 {
        scope.spawn("connection", |ctx| async move { Ok(ctx.run(sleep(SECOND)).await?) })?;
    }
    // Full: refused at once, or wait until there is room.
    let third = scope.spawn("connection", |_ctx| async { Ok(()) });
    assert!(matches!(third, Err(Refused::Full { .. })));

    let began = Instant::now();
    let slot = scope.slot().await?; // before the next one is accepted
    slot.spawn("connection", |_ctx| async { Ok(()) })?;
    assert_eq!(began.elapsed(), SECOND);
    Ok(())
}
// ANCHOR_END: limited

// ANCHOR: draining
async fn draining(ctx: &Context) -> Result<(), BoxError> {
    let scope = Scope::new(ctx, "uploads");
    // Work that is no task of the scope: somebody else polls it.
    let upload = scope.hold("report.pdf")?;

    scope.drain(30 * SECOND);
    assert_eq!(scope.ctx().level(), Level::Draining);
    assert_eq!(scope.in_flight()[0].name, "report.pdf");

    drop(upload);
    assert_eq!(scope.ctx().level(), Level::Done, "no need to wait for the end of the grace");
    Ok(())
}
// ANCHOR_END: draining

// ANCHOR: leak
async fn leak(ctx: &Context) -> Result<(), BoxError> {
    let scope = Scope::new(ctx, "page");
    scope.spawn("recommendations", |_ctx| async {
        pending::<()>().await; // never looks at its context
        Ok(())
    })?;

    let report = scope.join(2 * SECOND).await;
    println!("{report}");
    // scope "page" made at src/page.rs:115:17: 0 finished, 1 aborted
    //   task "recommendations" spawned at src/page.rs:116:11 was aborted after 2.5s
    assert_eq!(report.aborted[0].name, "recommendations");
    Ok(())
}
// ANCHOR_END: leak

// ANCHOR: straggler
async fn straggler(ctx: &Context) -> Result<(), BoxError> {
    let scope = Scope::new(ctx, "import").cancel_grace(Duration::ZERO);
    let ((begin, begun), (release, released)) = (oneshot::channel(), mpsc::channel::<()>());
    scope.spawn_blocking("checksum", move |_ctx| {
        let _ = begin.send(());
        let _ = released.recv(); // a thread that does not look at its context
        Ok(())
    })?;
    begun.await?;

    let report = scope.join(Duration::ZERO).await; // it gets no time at all
    println!("{report}");
    // scope "import" made at src/import.rs:132:17: 0 finished, 1 left behind
    //   blocking task "checksum" spawned at src/import.rs:134:11 still runs after 2ms
    assert_eq!(report.stragglers[0].name, "checksum");
    drop(release);
    Ok(())
}
// ANCHOR_END: straggler

// ANCHOR: dropped
async fn dropped(ctx: &Context) -> Result<(), BoxError> {
    let scope = Scope::new(ctx, "audit");
    let line = scope.spawn("line", |ctx| async move { Ok(ctx.run(load("audit")).await??) })?;
    yield_now().await;

    // Wrong: nobody waits for the line. It is aborted, as all that a dropped future was doing.
    drop(scope);
    assert!(line.await.is_err_and(|error| error.kind() == TaskErrorKind::Aborted));

    // Right: what must be finished is waited for, within a budget.
    let scope = Scope::new(ctx, "audit");
    let line = scope.spawn("line", |ctx| async move { Ok(ctx.run(load("audit")).await??) })?;
    assert!(scope.join(5 * SECOND).await.is_clean());
    assert_eq!(line.await?, 5);
    Ok(())
}
// ANCHOR_END: dropped
