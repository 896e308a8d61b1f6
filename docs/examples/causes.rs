//! Causes: what ended, where, why, and what to make of it.

use std::error::Error;
use std::io;
use std::time::Duration;

use downhaul_context::{Canceller, Cause, CauseKind, Context, Reason, Scope};

const MS: Duration = Duration::from_millis(1);

type BoxError = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    parts().await;
    unwatched().await;
    source();
    status();
    kept();
    lines().await;
}

// ANCHOR: parts
async fn parts() {
    let (request, _request) = Context::background().derive().label("GET /orders/{id}").build();
    let (query, _query) = request.derive().label("db.query").timeout(100 * MS).build();

    let cause = query.done().await;
    tracing::warn!(
        kind = ?cause.kind(),       // Deadline
        path = cause.path(),        // GET /orders/{id} > db.query
        at = %cause.location(),     // src/db.rs:27:39, where the deadline was set
        budget = ?cause.budget(),   // Some(100ms)
        elapsed = ?cause.elapsed(), // Some(101ms)
        "{cause}"
    );
    assert_eq!(cause.path(), "GET /orders/{id} > db.query");
    assert_eq!(cause.budget(), Some(100 * MS));
    assert!(cause.elapsed().is_some_and(|elapsed| elapsed >= 100 * MS));
}
// ANCHOR_END: parts

// ANCHOR: unwatched
async fn unwatched() {
    let (service, stop) = Context::root();
    let (request, _request) = service.with_timeout(100 * MS);

    // Nobody waits on the request: there is no timer that could tell of its deadline.
    tokio::time::advance(150 * MS).await;
    stop.cancel();

    // It ended by its deadline all the same, 50 ms before the service was cancelled.
    assert_eq!(request.cause().map(|cause| cause.kind()), Some(CauseKind::Deadline));
    assert_eq!(service.cause().map(|cause| cause.kind()), Some(CauseKind::Cancelled));
}
// ANCHOR_END: unwatched

// ANCHOR: source
fn source() {
    let (service, stop) = Context::root();
    let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
    stop.cancel_with(Reason::component_failed("broker", refused));

    let (request, _request) = service.child();
    let Err(cause) = request.check() else { panic!("its service has ended") };
    println!("{cause}"); // component failed: broker, seen at src/main.rs:67:10
    let source = cause.source().and_then(|source| source.downcast_ref::<io::Error>());
    assert!(source.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused));
}
// ANCHOR_END: source

// ANCHOR: status
/// What to answer when the context ended before the answer was ready.
fn status_of(cause: &Cause) -> Option<u16> {
    match cause.kind() {
        CauseKind::Deadline => Some(504),
        // Nobody is there to read an answer.
        CauseKind::ClientGone => None,
        // There may be more kinds one day. By all of them, this process is no use any more.
        _ => Some(503),
    }
}
// ANCHOR_END: status

fn status() {
    let (ctx, _canceller) = Context::background().with_timeout(Duration::ZERO);
    assert!(ctx.cause().is_some_and(|cause| status_of(&cause) == Some(504)));
}

// ANCHOR: kept
/// Wrong: from here on, nobody can know whether to try again, answer 504, or blame the deploy.
fn load_wrong(ctx: &Context) -> Result<(), BoxError> {
    ctx.check().map_err(|_| "cancelled")?;
    Ok(())
}

/// Right: a cause is an error. It goes up by `?`, alone or as the source of another.
fn load_right(ctx: &Context) -> Result<(), BoxError> {
    ctx.check()?;
    Ok(())
}

fn kept() {
    let (ctx, canceller) = Context::root();
    canceller.cancel_with(Reason::client_gone());
    assert!(load_wrong(&ctx).is_err_and(|error| error.downcast_ref::<Cause>().is_none()));
    assert!(load_right(&ctx).is_err_and(|error| error.downcast_ref::<Cause>().is_some()));
}
// ANCHOR_END: kept

/// The lines in the table of the page.
async fn lines() {
    let told = [
        (Reason::cancelled("a replica answered first"), "a replica answered first, at docs/"),
        (Reason::client_gone(), r#"client gone: "GET /orders/{id}" seen at docs/"#),
        (Reason::component_failed("broker", "refused"), "component failed: broker, seen at docs/"),
        (Reason::operator("POST /consumers/orders/stop"), "/stop, taken at docs/"),
        (Reason::signal("SIGTERM"), "signal SIGTERM"),
    ];
    for (reason, part) in told {
        let (ctx, canceller) = labelled();
        canceller.cancel_with(reason);
        assert_line(&ctx, part);
    }
    let (ctx, canceller) = labelled();
    drop(canceller);
    assert_line(&ctx, r#"cancelled: "GET /orders/{id}" the canceller made at docs/"#);

    let (ctx, canceller) = labelled();
    canceller.drain_with(30 * MS, Reason::signal("SIGTERM"));
    tokio::time::advance(30 * MS).await;
    assert_line(&ctx, r#"drain grace over: "GET /orders/{id}" 30ms after signal SIGTERM"#);

    let import = Scope::new(&Context::background(), "import");
    let _ = import.spawn("rows", |_ctx| async { Err::<(), _>("no such table".into()) });
    import.ctx().done().await;
    assert_line(import.ctx(), r#"task failed: "import > rows" spawned at docs/"#);
}

fn labelled() -> (Context, Canceller) {
    Context::background().derive().label("GET /orders/{id}").build()
}

fn assert_line(ctx: &Context, part: &str) {
    let line = ctx.cause().map(|cause| cause.to_string()).unwrap_or_default();
    assert!(line.contains(part), "{line}");
}
