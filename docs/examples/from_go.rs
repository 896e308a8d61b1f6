//! What a Go programmer writes with package `context`, written here.

use std::error::Error;
use std::time::Duration;

use downhaul_context::{Cause, CauseKind, Context, Reason};
use tokio::sync::{mpsc, oneshot};

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Cause> {
    cancel();
    select().await;
    cause().await;
    values();
    without_cancel().await?;
    after_func().await;
    merge();
    custom();
    Ok(())
}

// ANCHOR: cancel
fn cancel() {
    // ctx, cancel := context.WithCancel(context.Background())
    // defer cancel()
    let (ctx, canceller) = Context::background().child();

    // if err := ctx.Err(); err != nil { return err }
    fn step(ctx: &Context) -> Result<(), Cause> {
        ctx.check()?;
        Ok(())
    }
    assert!(step(&ctx).is_ok());

    // The end of the scope is the `defer`. This is the end of a smaller one.
    drop(canceller);
    assert!(step(&ctx).is_err());
}
// ANCHOR_END: cancel

// ANCHOR: select
async fn select() {
    // select {
    // case job := <-jobs:
    // case <-ctx.Done(): return ctx.Err()
    // }
    async fn next(ctx: &Context, jobs: &mut mpsc::Receiver<u32>) -> Result<Option<u32>, Cause> {
        ctx.run(jobs.recv()).await
    }

    let (sender, mut jobs) = mpsc::channel(1);
    let (ctx, _canceller) = Context::background().with_timeout(Duration::from_secs(1));
    assert!(sender.send(7).await.is_ok());
    assert!(matches!(next(&ctx, &mut jobs).await, Ok(Some(7))));

    let late = next(&ctx, &mut jobs).await;
    assert!(late.is_err_and(|cause| cause.kind() == CauseKind::Deadline));
}
// ANCHOR_END: select

// ANCHOR: cause
async fn cause() {
    // ctx, cancel := context.WithCancelCause(parent)
    // cancel(errDiskFull)
    let (ctx, canceller) = Context::root();
    let reason = Reason::component_failed("store", "disk full");
    assert!(canceller.cancel_with(reason));

    // context.Cause(ctx)
    let error = ctx.cause();
    let source = error.as_ref().and_then(Error::source).map(ToString::to_string);
    assert_eq!(source.as_deref(), Some("disk full"));

    // ctx, cancel := context.WithTimeoutCause(parent, 100*time.Millisecond, errQuery)
    let budget = Duration::from_millis(100);
    let (ctx, _canceller) =
        Context::background().derive().label("db.query").timeout(budget).build();
    let cause = ctx.done().await;

    // if errors.Is(cause, context.DeadlineExceeded)
    assert_eq!(cause.kind(), CauseKind::Deadline);
    // deadline exceeded: "db.query" budget 100ms set at src/db.rs:41:9, elapsed 101ms
    assert!(cause.to_string().starts_with(r#"deadline exceeded: "db.query" budget 100ms set at "#));
}
// ANCHOR_END: cause

// ANCHOR: values
fn values() {
    // type tenantKey struct{}
    // ctx = context.WithValue(ctx, tenantKey{}, "acme")
    struct Tenant(&'static str);
    let ctx = Context::background().with_value(Tenant("acme"));

    // tenant, ok := ctx.Value(tenantKey{}).(string)
    let tenant = ctx.value::<Tenant>();
    assert_eq!(tenant.map(|tenant| tenant.0), Some("acme"));
}
// ANCHOR_END: values

// ANCHOR: without_cancel
async fn without_cancel() -> Result<(), Cause> {
    let (request, canceller) = Context::root();

    // cleanup, cancel := context.WithTimeout(context.WithoutCancel(request), 5*time.Second)
    let (cleanup, _cleanup) = request.detached().with_timeout(Duration::from_secs(5));

    // Most of the time this is what is meant: five seconds more than the request, and no longer.
    let (cleanup_too, _cleanup_too) = request.shielded(Duration::from_secs(5));

    canceller.cancel();
    cleanup.check()?;
    cleanup_too.check()?;
    assert!(cleanup_too.is_draining() && !cleanup.is_draining());
    Ok(())
}
// ANCHOR_END: without_cancel

// ANCHOR: after_func
async fn after_func() {
    // stop := context.AfterFunc(ctx, func() { … })
    // defer stop()
    let (ctx, canceller) = Context::root();
    let (tell, told) = oneshot::channel();
    let registration = ctx.on_done(|cause| {
        let _ = tell.send(cause.kind());
    });

    // Where the function waits for something, it is a task.
    let task = tokio::spawn(ctx.after(told));

    canceller.cancel();
    assert!(!registration.stop(), "it has run, before `cancel` returned");
    assert!(matches!(task.await, Ok(Ok(CauseKind::Cancelled))));
}
// ANCHOR_END: after_func

// ANCHOR: merge
fn merge() {
    // ctx, cancel := context.WithCancelCause(request)
    // stop := context.AfterFunc(service, func() { cancel(context.Cause(service)) })
    // defer func() { stop(); cancel(nil) }()
    let (service, canceller) = Context::root();
    let (request, _request) = Context::root();
    let (ctx, _ctx) = request.merged(&service);

    canceller.cancel_with(Reason::signal("SIGTERM"));
    assert_eq!(ctx.cause().map(|cause| cause.kind()), Some(CauseKind::Signal));
    assert!(!request.is_done());
}
// ANCHOR_END: merge

// ANCHOR: custom
fn custom() {
    // type conn struct{ closed chan struct{} }
    // func (c *conn) Done() <-chan struct{} { return c.closed }
    let (close, closed) = oneshot::channel::<()>();
    let (ctx, _canceller) = Context::background().child_until(async {
        let _ = closed.await;
        Reason::client_gone()
    });

    drop(close);
    assert_eq!(ctx.cause().map(|cause| cause.kind()), Some(CauseKind::ClientGone));
}
// ANCHOR_END: custom
