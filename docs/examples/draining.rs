//! Draining and done: what is begun is finished, and nothing new is begun.

use std::time::Duration;

use downhaul_context::{CauseKind, Context, Level, Reason};
use tokio::sync::mpsc;
use tokio::time::sleep;

/// What there is to do: each job takes as long as it says.
type Jobs = mpsc::Receiver<Duration>;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    levels().await;
    a_deploy().await;
    shorten().await;
    drained_part();
}

// ANCHOR: levels
async fn levels() {
    let (service, stop) = Context::root();
    let (request, _request) = service.child();

    stop.drain_with(Duration::from_secs(30), Reason::signal("SIGTERM"));
    assert_eq!(request.level(), Level::Draining);
    assert!(request.check().is_ok(), "draining cancels nothing");
    assert!(service.child().0.is_draining(), "a new child is born draining");

    // What is left at the end of the grace is told to stop.
    let cause = request.done().await;
    assert_eq!(cause.kind(), CauseKind::DrainGraceOver);
    println!("{cause}"); // drain grace over: 30s after signal SIGTERM
}
// ANCHOR_END: levels

// ANCHOR: wrong
/// Wrong: it looks at done alone. It takes jobs until the grace is over, and drops the last one
/// half-way.
async fn work_wrong(ctx: Context, mut jobs: Jobs) -> (u32, u32) {
    let (mut begun, mut finished) = (0, 0);
    while let Ok(Some(job)) = ctx.run(jobs.recv()).await {
        begun += 1;
        finished += u32::from(ctx.run(sleep(job)).await.is_ok());
    }
    (begun, finished)
}
// ANCHOR_END: wrong

// ANCHOR: right
/// Right: it takes jobs until it drains, and finishes what it took.
async fn work_right(ctx: Context, mut jobs: Jobs) -> (u32, u32) {
    let (mut begun, mut finished) = (0, 0);
    loop {
        let job = tokio::select! {
            biased;
            () = ctx.draining() => break,
            job = jobs.recv() => job,
        };
        let Some(job) = job else { break };
        begun += 1;
        finished += u32::from(ctx.run(sleep(job)).await.is_ok());
    }
    (begun, finished)
}
// ANCHOR_END: right

// ANCHOR: deploy
async fn a_deploy() {
    let (service, stop) = Context::root();
    let wrong = tokio::spawn(work_wrong(service.clone(), a_long_queue().await));
    let right = tokio::spawn(work_right(service, a_long_queue().await));

    sleep(SECOND * 3 / 2).await;
    stop.drain(10 * SECOND);
    assert!(matches!(wrong.await, Ok((12, 11))), "one of twelve was cut");
    assert!(matches!(right.await, Ok((2, 2))), "the others wait for the next process");
}
// ANCHOR_END: deploy

/// Jobs of a second each.
async fn a_long_queue() -> Jobs {
    let (sender, jobs) = mpsc::channel(100);
    for _ in 0..100 {
        let sent = sender.send(SECOND).await;
        assert!(sent.is_ok(), "there is room for all");
    }
    jobs
}

// ANCHOR: shorten
async fn shorten() {
    let (service, stop) = Context::root();
    stop.drain(30 * SECOND);
    let first = service.ends_at();

    stop.drain(60 * SECOND);
    assert_eq!(service.ends_at(), first, "a longer grace changes nothing");
    stop.drain(5 * SECOND);
    assert!(service.ends_at() < first, "a shorter one does, also for who waits already");
    stop.drain(Duration::ZERO);
    assert!(service.is_done());
}
// ANCHOR_END: shorten

// ANCHOR: part
fn drained_part() {
    let (service, _stop) = Context::root();
    let (consumer, pause) = service.derive().label("consumer").build();
    let (server, _server) = service.derive().label("server").build();

    // One part of a service can drain alone.
    pause.drain_with(30 * SECOND, Reason::operator("POST /consumers/orders/drain"));
    assert!(consumer.is_draining() && !server.is_draining());
    let why = consumer.drain_cause().map(|cause| cause.kind());
    assert_eq!((why, consumer.cause().is_none()), (Some(CauseKind::Operator), true));
}
// ANCHOR_END: part
