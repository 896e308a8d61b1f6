//! Waiting for an end, and for what must come after it.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use downhaul_context::{Cause, CauseKind, Context, Reason, RequestId};
use tokio::sync::oneshot;
use tokio::task::{spawn_blocking, yield_now};
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Cause> {
    run().await?;
    ended_before().await;
    select().await;
    spawned().await;
    blocking().await;
    callback();
    callback_dropped();
    after().await;
    undo().await?;
    outlives().await
}

// ANCHOR: run
async fn run() -> Result<(), Cause> {
    let (ctx, _canceller) = Context::background().with_timeout(SECOND);

    // A future that is ready in time gives its output.
    let answer = ctx.run(async { 42 }).await?;
    assert_eq!(answer, 42);

    // One that is not is dropped where it waits, and the cause says why.
    let late = ctx.run(pending::<()>()).await;
    assert!(late.is_err_and(|cause| cause.kind() == CauseKind::Deadline));
    Ok(())
}
// ANCHOR_END: run

async fn ended_before() {
    let (ctx, canceller) = Context::root();
    canceller.cancel();
    let polled = ctx.run(async { panic!("it is not polled") }).await;
    assert!(polled.is_err_and(|_: Cause| true));
}

// ANCHOR: select
type Receipt = oneshot::Receiver<u32>;

/// Wrong: if both are ready, a coin decides, and the receipt may be lost. Where the context ended
/// long ago, a coin decides whether the other future is begun.
async fn pay_wrong(ctx: Context, receipt: Receipt) -> Result<u32, Cause> {
    tokio::select! {
        cause = ctx.done() => Err(cause),
        Ok(number) = receipt => Ok(number),
    }
}

/// Right: what is ready wins, and what is over does not begin.
async fn pay_right(ctx: Context, receipt: Receipt) -> Result<u32, Cause> {
    ctx.run(async { receipt.await.unwrap_or_default() }).await
}
// ANCHOR_END: select

async fn select() {
    let mut lost = 0;
    for _ in 0..64 {
        let ((wrong, receipt), (right, other)) = (oneshot::channel(), oneshot::channel());
        let (ctx, canceller) = Context::root();
        let paid_wrong = tokio::spawn(pay_wrong(ctx.clone(), receipt));
        let paid_right = tokio::spawn(pay_right(ctx, other));
        yield_now().await;
        assert!(wrong.send(7).is_ok() && right.send(7).is_ok());
        canceller.cancel();
        assert!(matches!(paid_right.await, Ok(Ok(7))));
        lost += u32::from(!matches!(paid_wrong.await, Ok(Ok(7))));
    }
    assert!(lost > 0);
}

// ANCHOR: spawned
async fn spawned() {
    let (request, canceller) = Context::root();
    // Wrong: nobody tells this task that the request is over.
    let leaked = tokio::spawn(sleep(DAY));
    // Right: it is dropped where it waits when the request ends.
    let task = tokio::spawn(request.run_owned(sleep(DAY)));

    canceller.cancel();
    assert!(task.await.is_ok_and(|ended| ended.is_err()));
    assert!(!leaked.is_finished());
}
// ANCHOR_END: spawned

// ANCHOR: blocking
async fn blocking() {
    let (request, canceller) = Context::root();
    let sum = spawn_blocking(move || -> Result<u64, Cause> {
        let mut sum = 0;
        for row in 0..u64::MAX {
            request.check()?; // once a row: nothing else can stop a thread
            sum ^= row;
        }
        Ok(sum)
    });

    canceller.cancel();
    assert!(sum.await.is_ok_and(|ended| ended.is_err()));
}
// ANCHOR_END: blocking

// ANCHOR: callback
fn callback() {
    let (ctx, canceller) = Context::root();
    let (tell, told) = mpsc::channel();
    let registration = ctx.on_done(move |cause| {
        let _ = tell.send(cause.kind());
    });

    canceller.cancel_with(Reason::client_gone());
    // It ran on this thread, before `cancel_with` returned.
    assert_eq!(told.try_recv(), Ok(CauseKind::ClientGone));
    assert!(!registration.stop(), "too late to stop it");
}
// ANCHOR_END: callback

// ANCHOR: callback_dropped
fn callback_dropped() {
    let (ctx, canceller) = Context::root();
    let (wrong, right) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (ran_wrong, ran_right) = (Arc::clone(&wrong), Arc::clone(&right));
    // Wrong: `_` binds nothing, and a registration that is dropped is stopped.
    let _ = ctx.on_done(move |_| ran_wrong.store(true, Ordering::Relaxed));
    // Right: let go of it by name. It goes with the context.
    ctx.on_done(move |_| ran_right.store(true, Ordering::Relaxed)).keep();

    canceller.cancel();
    assert!(!wrong.load(Ordering::Relaxed) && right.load(Ordering::Relaxed));
}
// ANCHOR_END: callback_dropped

// ANCHOR: after
async fn after() {
    let (connection, canceller) = Context::root();
    let farewell = tokio::spawn(connection.after(async {
        sleep(SECOND).await; // whatever takes its time
        "sent"
    }));

    canceller.cancel();
    assert!(matches!(farewell.await, Ok("sent")));
}
// ANCHOR_END: after

/// Gives back what an order had reserved.
async fn give_back() {
    sleep(SECOND).await;
}

// ANCHOR: undo
async fn undo() -> Result<(), Cause> {
    let (request, canceller) = Context::root();
    canceller.cancel_with(Reason::client_gone());

    // Wrong: the request is over, so this does not even begin. What was reserved stays reserved.
    let undone = request.run(give_back()).await;
    assert!(undone.is_err());

    // Right: five seconds more, for this alone.
    let (cleanup, _cleanup) = request.shielded(5 * SECOND);
    cleanup.run(give_back()).await
}
// ANCHOR_END: undo

// ANCHOR: outlives
async fn outlives() -> Result<(), Cause> {
    let (request, canceller) = Context::root();
    let request = request.with_value(RequestId::generate());

    // The answer does not wait for the mail, and the mail does not end with the answer.
    let (mail, _mail) = request.detached().with_timeout(60 * SECOND);
    canceller.cancel();
    mail.run(sleep(SECOND)).await?;
    assert_eq!(mail.value::<RequestId>(), request.value::<RequestId>());
    Ok(())
}
// ANCHOR_END: outlives
