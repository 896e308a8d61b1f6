//! One lifetime at a time: the tree, deadlines, draining, values, and waiting.

use std::future::pending;
use std::time::Duration;

use downhaul_context::{Cause, CauseKind, Context, Level, Reason, RequestId};
use tokio::time::sleep;

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Cause> {
    tree();
    values();
    deadline().await;
    run().await?;
    draining().await;
    detached().await?;
    Ok(())
}

// ANCHOR: tree
fn tree() {
    let (service, canceller) = Context::root();
    let (request, _request) = service.derive().label("GET /orders/{id}").build();
    let (query, _query) = request.derive().label("db.query").build();

    // Who holds the canceller ends the context, and with it everything below.
    canceller.cancel_with(Reason::signal("SIGTERM"));
    assert!(query.is_done());
    assert_eq!(query.cause().map(|cause| cause.kind()), Some(CauseKind::Signal));

    // Ending a child leaves its parent alone. Dropping a canceller ends its context too.
    let (service, _service) = Context::root();
    let (request, canceller) = service.child();
    drop(canceller);
    assert!(request.is_done() && !service.is_done());
}
// ANCHOR_END: tree

// ANCHOR: values
fn values() {
    let (service, _service) = Context::root();
    let request = service.with_value(RequestId::generate());
    let (query, _query) = request.child();

    assert_eq!(query.value::<RequestId>(), request.value::<RequestId>());
    assert!(service.value::<RequestId>().is_none(), "values go down, never up");
}
// ANCHOR_END: values

// ANCHOR: deadline
async fn deadline() {
    let (request, _request) = Context::background().with_timeout(Duration::from_millis(250));
    // A child may ask for more, and gets what its parent has left.
    let (query, _query) = request.derive().label("db.query").timeout(Duration::MAX).build();
    assert_eq!(query.deadline(), request.deadline());

    let (query, _query) =
        request.derive().label("db.query").timeout(Duration::from_millis(100)).build();
    let cause = query.done().await;
    assert_eq!(cause.kind(), CauseKind::Deadline);
    // deadline exceeded: "db.query" budget 100ms set at src/db.rs:41:9, elapsed 101ms
    println!("{cause}");
    assert!(!request.is_done());
}
// ANCHOR_END: deadline

// ANCHOR: run
async fn run() -> Result<(), Cause> {
    let (ctx, _canceller) = Context::background().with_timeout(Duration::from_millis(250));

    // A future that is ready in time gives its output.
    let answer = ctx.run(async { 42 }).await?;
    assert_eq!(answer, 42);

    // One that is not is dropped where it stands, and the cause says why.
    let late = ctx.run(pending::<()>()).await;
    assert!(late.is_err_and(|cause| cause.kind() == CauseKind::Deadline));
    Ok(())
}
// ANCHOR_END: run

// ANCHOR: draining
async fn draining() {
    let (service, canceller) = Context::root();
    let (worker, _worker) = service.child();

    let working = tokio::spawn(async move {
        let mut finished = 0;
        // Draining asks: take nothing new.
        while !worker.is_draining() {
            // Done tells: what is begun goes on until then.
            let Ok(()) = worker.run(sleep(Duration::from_secs(1))).await else { break };
            finished += 1;
        }
        finished
    });

    sleep(Duration::from_millis(1500)).await;
    canceller.drain(Duration::from_secs(30));
    assert_eq!(service.level(), Level::Draining);
    assert!(service.check().is_ok(), "draining cancels nothing");

    // The second piece of work was under way, and finished.
    assert!(matches!(working.await, Ok(2)));

    // At the end of the grace, what is left is cancelled.
    assert_eq!(service.done().await.kind(), CauseKind::DrainGraceOver);
}
// ANCHOR_END: draining

// ANCHOR: detached
async fn detached() -> Result<(), Cause> {
    let (request, canceller) = Context::root();
    let request = request.with_value(RequestId::generate());
    canceller.cancel();

    // Giving back what was reserved must not be cancelled with the request: it keeps the
    // request's id, and gets a budget of its own.
    let (undo, _undo) = request.detached().with_timeout(Duration::from_secs(5));
    undo.run(sleep(Duration::from_secs(1))).await?;
    assert!(undo.value::<RequestId>().is_some());
    Ok(())
}
// ANCHOR_END: detached
