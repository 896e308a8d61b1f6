//! How things stood with the context at the first layer.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use downhaul_context::{
    Context, Reason, ResultExt, Scope, TraceContext, Traced, TracedError, WireValue,
};

use super::{OrderError, handle, request};

const MS: Duration = Duration::from_millis(1);

struct Tenant(&'static str);

impl WireValue for Tenant {
    const NAME: &'static str = "tenant";
    fn encode(&self) -> Cow<'_, str> {
        self.0.into()
    }
    fn decode(_: &str) -> Option<Self> {
        None
    }
}

struct ApiKey(&'static str);

impl WireValue for ApiKey {
    const NAME: &'static str = "api-key";
    const REDACTED: bool = true;
    fn encode(&self) -> Cow<'_, str> {
        self.0.into()
    }
    fn decode(_: &str) -> Option<Self> {
        None
    }
}

#[test]
fn values_that_opted_in_are_told_and_redacted_ones_are_not() {
    let ctx = request().with_wire_value(Tenant("acme")).with_wire_value(ApiKey("s3cret"));
    let ctx = ctx.with_value("private");
    let error = Traced::new(&ctx, "get", fmt::Error);
    let text = format!("{error} {error:#} {error:?}");
    assert!(
        error.to_string().ends_with("[request_id=r-1 api-key=<redacted> tenant=acme]"),
        "{text}"
    );
    assert!(!text.contains("s3cret") && !text.contains("private"), "{text}");
}

#[test]
fn the_tree_names_the_trace() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let ctx = request().with_value(TraceContext::parse(parent, None).unwrap());
    let error = Traced::new(&ctx, "get", fmt::Error);
    assert_eq!(error.trace_id().unwrap(), "4bf92f3577b34da6a3ce929d0e0e4736");
    let tree = format!("{error:#}");
    assert!(
        tree.ends_with("\n  request_id=r-1 trace_id=4bf92f3577b34da6a3ce929d0e0e4736"),
        "{tree}"
    );
}

#[tokio::test(start_paused = true)]
async fn it_tells_how_long_the_work_had_run_and_what_was_left() {
    let (ctx, _request) = request().with_timeout(500 * MS);
    tokio::time::advance(100 * MS).await;
    let (query, _query) = ctx.with_timeout(50 * MS);
    tokio::time::advance(20 * MS).await;
    let error = Traced::new(&query, "get", fmt::Error);
    assert_eq!(
        (error.ran(), error.remaining(), error.overdue()),
        (Some(120 * MS), Some(30 * MS), None)
    );
    assert!(format!("{error:#}").ends_with("\n  after 120ms, 30ms before its deadline"));
}

#[tokio::test(start_paused = true)]
async fn it_tells_by_how_much_the_deadline_was_over_and_that_it_was_the_end() {
    let (ctx, _request) = request().with_timeout(500 * MS);
    tokio::time::advance(503 * MS).await;
    for _ in 0..2 {
        let error = Traced::new(&ctx, "get", fmt::Error);
        assert_eq!(
            (error.ran(), error.remaining(), error.overdue()),
            (Some(503 * MS), None, Some(3 * MS))
        );
        assert!(error.is_deadline() && !error.is_cancelled());
        let tree = format!("{error:#}");
        assert!(
            tree.contains("\n  after 503ms, 3ms past its deadline\n  ended: deadline"),
            "{tree}"
        );
        assert!(error.to_string().contains(" ended=\"deadline exceeded: budget 500ms"), "{error}");
    }
}

#[test]
fn why_the_work_was_cancelled_is_told_in_the_line() {
    let (ctx, canceller) = Context::root();
    canceller.cancel_with(Reason::signal("SIGTERM"));
    let error = Traced::new(&ctx, "repo.find", io::Error::other("connection reset"));
    assert_eq!(error.to_string(), "repo.find: connection reset [ended=\"signal SIGTERM\"]");
    assert!(error.is_cancelled() && !error.is_deadline());
    let boxed = TracedError::from(error);
    assert_eq!(boxed.to_string(), "repo.find [ended=\"signal SIGTERM\"]");
}

#[test]
fn a_cause_that_is_the_error_is_not_told_twice() {
    let (ctx, canceller) = Context::root();
    canceller.cancel_with(Reason::signal("SIGTERM"));
    let wait = || ctx.check().map_err(OrderError::Ended).layer(&ctx, "repo.find");
    let error = wait().unwrap_err();
    assert_eq!(error.to_string(), "repo.find: the end came first: signal SIGTERM");
    assert_eq!(format!("{error:#}").matches("SIGTERM").count(), 1);
    let error = ctx.check().map_err(io::Error::other).layer(&ctx, "read").unwrap_err();
    assert_eq!(error.to_string(), "read: signal SIGTERM", "in an I/O error, too");
    assert!(error.is_cancelled());
}

#[test]
fn a_cause_of_the_error_wins_over_the_end_of_the_context() {
    let (service, stop) = Context::root();
    let (query, _query) = service.with_timeout(Duration::ZERO);
    let late = query.check().map_err(OrderError::Ended);
    stop.cancel();
    let error = late.layer(&service, "repo.find").unwrap_err();
    assert!(error.is_deadline(), "{error}");
    assert!(error.to_string().contains("[ended=\"cancelled: at "), "{error}");
}

#[test]
fn the_context_is_looked_at_by_the_first_layer_alone() {
    let (ctx, canceller) = request().child();
    let inner = Traced::new(&ctx, "inner", fmt::Error);
    canceller.cancel();
    let other = Context::background();
    let error = Err::<(), _>(inner).layer(&ctx, "outer").layer(&other, "outermost").unwrap_err();
    assert!(!error.is_cancelled());
    assert_eq!(error.request_id().unwrap().as_str(), "r-1");
}

#[tokio::test]
async fn a_task_that_gives_the_end_of_its_scope_back_with_layers_was_cancelled_and_did_not_fail() {
    let (ctx, canceller) = Context::root();
    let scope = Scope::new(&ctx, "scope");
    let wait = |ctx: Context| async move {
        let cause = ctx.done().await;
        Err::<(), Box<dyn Error + Send + Sync>>(Traced::new(&ctx, "wait", cause).into())
    };
    scope.spawn("task", wait).unwrap();
    canceller.cancel();
    let report = scope.join(Duration::from_secs(60)).await;
    assert_eq!((report.counts.failed, report.counts.cancelled), (0, 1), "{report}");
}

#[test]
fn without_a_context_that_says_anything_there_is_nothing_in_brackets() {
    let text = handle(&Context::background()).to_string();
    assert!(text.ends_with(": connection refused"), "{text}");
}
