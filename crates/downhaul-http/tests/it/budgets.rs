//! What clients say of the time that they give, and what goes on to the next service.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use downhaul_context::{Context, RequestId, TraceContext};
use downhaul_http::{Request, Router, inject};
use http::HeaderMap;

use crate::support::Fixture;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// `/left` answers the seconds that are left, rounded up.
fn left() -> Router {
    Router::new().get("/left", async |ctx: Context, _: Request| {
        ctx.remaining().map_or(0, |left| left.as_millis().div_ceil(1000)).to_string()
    })
}

fn asking(headers: &str) -> String {
    format!("GET /left HTTP/1.1\r\nhost: t\r\n{headers}\r\n")
}

#[tokio::test]
async fn a_client_shortens_the_deadline_by_what_it_says() {
    let server = Fixture::start(left()).await;
    for headers in [
        "x-request-timeout-ms: 7000\r\n",
        "connect-timeout-ms: 7000\r\n",
        "x-envoy-expected-rq-timeout-ms: 7000\r\n",
        "grpc-timeout: 7S\r\n",
        "grpc-timeout: 9S\r\nx-request-timeout-ms: 7000\r\n",
        "grpc-timeout: 7S\r\nx-request-timeout-ms: 9000\r\n",
    ] {
        assert_eq!(server.request(&asking(headers)).await.body, "7", "{headers}");
    }
}

#[tokio::test]
async fn no_client_gets_more_than_the_server_grants() {
    let server = Fixture::with(left(), |server| server.timeout(Duration::from_secs(5))).await;
    for headers in ["x-request-timeout-ms: 9999999999\r\n", "grpc-timeout: 99999999H\r\n"] {
        assert_eq!(server.request(&asking(headers)).await.body, "5", "{headers}");
    }
}

#[tokio::test]
async fn what_is_not_valid_counts_for_nothing() {
    let server = Fixture::with(left(), |server| server.timeout(Duration::from_secs(5))).await;
    for headers in [
        "x-request-timeout-ms: -1\r\n",
        "x-request-timeout-ms: soon\r\n",
        "x-request-timeout-ms: 10000000000\r\n",
        "x-request-timeout-ms:\r\n",
        "grpc-timeout: 1\r\n",
        "grpc-timeout: S\r\n",
    ] {
        assert_eq!(server.request(&asking(headers)).await.body, "5", "{headers}");
    }
}

#[tokio::test]
async fn where_no_time_is_left_no_handler_is_run() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let router = Router::new().get("/left", move |_: Context, _: Request| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { "run" }
    });
    let server = Fixture::start(router).await;
    let mut client = server.client().await;
    client.send(&asking("grpc-timeout: 0n\r\n")).await;
    let response = client.response().await;
    assert_eq!((response.status, runs.load(Ordering::Relaxed)), (504, 0));
    assert!(response.member("detail").contains("no time"), "{}", response.body);
    // The connection goes on.
    client.send(&asking("")).await;
    assert_eq!(client.response().await.body, "run");
}

#[tokio::test]
async fn a_server_need_not_listen_to_what_clients_say_of_time() {
    let server = Fixture::with(left(), |server| server.client_budget(false)).await;
    assert_eq!(server.request(&asking("x-request-timeout-ms: 0\r\n")).await.body, "30");
}

#[tokio::test(start_paused = true)]
async fn what_is_left_goes_on_to_the_next_service() {
    let id = RequestId::generate();
    let ctx = Context::background()
        .with_value(id.clone())
        .with_value(TraceContext::parse(TRACE, Some("a=1")).unwrap());
    let (ctx, _canceller) = ctx.with_timeout(Duration::from_secs(2));
    let mut headers = HeaderMap::new();
    headers.insert("x-request-id", "stale".parse().unwrap());
    inject(&ctx, &mut headers, Duration::from_millis(100));
    assert_eq!(headers["x-request-timeout-ms"], "1900");
    assert_eq!(headers["x-request-id"], id.as_str());
    assert_eq!(
        (&headers["traceparent"], &headers["tracestate"]),
        (&TRACE.parse().unwrap(), &"a=1".parse().unwrap())
    );
    assert_eq!(headers.len(), 4);
}

#[tokio::test]
async fn the_state_of_a_trace_may_come_in_several_headers() {
    let state = async |ctx: Context, _: Request| {
        let trace = ctx.value::<TraceContext>().unwrap();
        trace.tracestate().unwrap_or_default().to_owned()
    };
    let server = Fixture::start(Router::new().get("/left", state)).await;
    let headers = format!("traceparent: {TRACE}\r\ntracestate: a=1\r\ntracestate: b=2,c=3\r\n");
    assert_eq!(server.request(&asking(&headers)).await.body, "a=1,b=2,c=3");
}

#[test]
fn the_state_of_another_trace_does_not_go_on() {
    let ctx = Context::background().with_value(TraceContext::parse(TRACE, None).unwrap());
    let mut headers = HeaderMap::new();
    headers.insert("tracestate", "stale=1".parse().unwrap());
    inject(&ctx, &mut headers, Duration::ZERO);
    assert_eq!(headers.get("tracestate"), None);
}

#[tokio::test]
async fn a_client_that_asks_for_next_to_nothing_has_the_least_that_is_worth_a_handler() {
    let least = Duration::from_secs(3);
    let server = Fixture::with(left(), |server| server.min_client_budget(least)).await;
    assert_eq!(server.request(&asking("grpc-timeout: 1n\r\n")).await.body, "3");
    assert_eq!(server.request(&asking("grpc-timeout: 4S\r\n")).await.body, "4");
    assert_eq!(server.request(&asking("x-request-timeout-ms: 0\r\n")).await.status, 504);
}
