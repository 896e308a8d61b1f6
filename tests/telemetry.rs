//! Traces: through the service as they are, and to a collector where there is one.

use std::sync::Arc;
use std::time::Duration;

use downhaul::Context;
use downhaul::consumer::headers::TRACEPARENT;
use downhaul::consumer::{Broker, Subscription};
use downhaul::http::{Error, Request, Router, Running, Server};
use downhaul::rabbitmq::RabbitMq;
use downhaul_testkit::rabbitmq::shared;
use reqwest::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::broker_loss::vhost;
use crate::service::{Ended, Service};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

async fn place_traced(service: &Service) {
    let request = service.client().post(format!("http://{}/orders", service.listen()));
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let order = r#"{"product":"p-1","quantity":1}"#;
    let placed = request.header("traceparent", parent).body(order).send().await.unwrap();
    assert_eq!(placed.status(), 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_travels_from_the_request_to_the_message() {
    let url = tokio::task::block_in_place(shared);
    let (url, _vhost) = vhost(&url);
    let service = Service::start(&["--broker", &url]).await;
    service.control("POST", "/consumers/inventory/stop").await;
    place_traced(&service).await;

    let broker = Arc::new(RabbitMq::new(&url).unwrap());
    let inventory = Subscription::new("inventory");
    let mut queue = broker.source(&Context::background(), &inventory).await.unwrap();
    let mut deliveries = Vec::new();
    queue.next(&mut deliveries).await.unwrap();
    let delivery = deliveries.remove(0).into_delivery().unwrap();
    let parent = delivery.message.headers().get(TRACEPARENT).unwrap();
    // Nobody traces here, so the position is the caller's.
    assert_eq!(parent, format!("00-{TRACE}-00f067aa0ba902b7-01"));
}

#[tokio::test(flavor = "multi_thread")]
async fn baggage_that_is_let_in_travels_from_the_request_over_a_message_to_the_next() {
    let url = tokio::task::block_in_place(shared);
    let (url, _vhost) = vhost(&url);
    let service = Service::start(&["--broker", &url]).await;
    service.control("POST", "/consumers/orders/stop").await;
    let request = service.client().post(format!("http://{}/orders", service.listen()));
    let request = request.header("baggage", "session=s3cret,tenant=acme");
    let order = r#"{"product":"p-1","quantity":1}"#;
    assert_eq!(request.body(order).send().await.unwrap().status(), 202);

    let broker = Arc::new(RabbitMq::new(&url).unwrap());
    let orders = Subscription::new("orders");
    let mut queue = broker.source(&Context::background(), &orders).await.unwrap();
    let mut deliveries = Vec::new();
    queue.next(&mut deliveries).await.unwrap();
    let confirmed = deliveries.remove(0).into_delivery().unwrap();
    assert_eq!(confirmed.message.headers().get("baggage"), Some("tenant=acme"));
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_both_sides_reach_the_collector_that_the_environment_names() {
    let (collector, mut exported) = collector().await;
    let endpoint = format!("http://{}", collector.address());
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let service = Service::start_with(&[], &environment).await;
    place_traced(&service).await;
    service.until_settled(1000).await;
    let ended = service.stop().await;
    assert!(ended.status.success(), "{}", ended.output);

    let mut all = Vec::new();
    while let Ok(export) = exported.try_recv() {
        all.extend(export);
    }
    let all = String::from_utf8_lossy(&all);
    for name in ["POST /orders", "publish order.created", "process inventory", "process orders"] {
        assert!(all.contains(name), "no `{name}`");
    }
}

/// A collector, and what is exported to it.
async fn collector() -> (Running, mpsc::UnboundedReceiver<Vec<u8>>) {
    collector_that(StatusCode::OK, Duration::ZERO).await
}

async fn collector_that(
    status: StatusCode,
    pause: Duration,
) -> (Running, mpsc::UnboundedReceiver<Vec<u8>>) {
    let (sender, exported) = mpsc::unbounded_channel();
    let router = Router::with_state(Collector { sender, status, pause });
    let router = router.post("/v1/traces", collect).post("/v1/metrics", collect);
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    (server.serve(Context::background(), router), exported)
}

struct Collector {
    sender: mpsc::UnboundedSender<Vec<u8>>,
    status: StatusCode,
    pause: Duration,
}

async fn collect(_ctx: Context, mut req: Request<Collector>) -> Result<StatusCode, Error> {
    let export = req.bytes().await?;
    // Whoever has stopped reading has seen enough.
    let _ = req.state().sender.send(export.to_vec());
    // tidy: the slowness of the collector is what is tried
    tokio::time::sleep(req.state().pause).await;
    Ok(req.state().status)
}

/// Serves a request while spans go to `endpoint`, and stops. Returns what the report says of
/// telemetry, and how long the stop took.
async fn stop_with_collector(endpoint: &str) -> (Ended, Duration) {
    stop_in(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]).await
}

async fn stop_in(environment: &[(&str, &str)]) -> (Ended, Duration) {
    let service = Service::start_with(&["--grace", "5s"], environment).await;
    // No connection is left idle: what a drain does with those is tried elsewhere.
    let request = service.client().post(format!("http://{}/orders", service.listen()));
    let order = r#"{"product":"p-1","quantity":1}"#;
    let placed = request.header("connection", "close").body(order).send().await.unwrap();
    assert_eq!(placed.status(), 202);
    let begun = Instant::now();
    let ended = service.stop().await;
    // What could not be exported is no work that was cut short.
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
    (ended, begun.elapsed())
}

/// The reserve of a grace of 5 s is half a second, and three quarters of it are for telemetry. No
/// stop gets anywhere near the 5 s that the exporter would wait.
const NEAR: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_does_not_hold_the_stop_and_the_report_says_so() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let (ended, took) = stop_with_collector(&endpoint).await;
    assert!(took < NEAR, "{took:?}");
    let line = "telemetry    the last spans were not exported within 375ms";
    assert!(ended.output.contains(line), "{}", ended.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_grpc_a_collector_that_never_answers_does_not_hold_the_stop_either() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let protocol = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let (ended, took) = stop_in(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), protocol]).await;
    assert!(took < NEAR, "{took:?}");
    let line = "telemetry    the last spans were not exported within 375ms";
    assert!(ended.output.contains(line), "{}", ended.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_answers_too_late_does_not_hold_the_stop_and_the_report_says_so() {
    let (collector, mut exported) = collector_that(StatusCode::OK, Duration::from_secs(5)).await;
    let endpoint = format!("http://{}", collector.address());
    let (ended, took) = stop_with_collector(&endpoint).await;
    assert!(exported.try_recv().is_ok(), "it got them");
    assert!(took < NEAR, "{took:?}");
    let line = "telemetry    the last spans were not exported within 375ms";
    assert!(ended.output.contains(line), "{}", ended.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_refuses_is_in_the_report() {
    let (collector, _exported) = collector_that(StatusCode::BAD_REQUEST, Duration::ZERO).await;
    let endpoint = format!("http://{}", collector.address());
    let (ended, took) = stop_with_collector(&endpoint).await;
    assert!(took < NEAR, "{took:?}");
    let line = "telemetry    the last spans were not exported: ";
    assert!(ended.output.contains(line), "{}", ended.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_listens_the_report_says_so() {
    // Held, and nobody accepts; it is given back before the service connects.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (ended, took) = stop_with_collector(&format!("http://{free}")).await;
    assert!(took < NEAR, "{took:?}");
    assert!(ended.output.contains("telemetry    the last spans were not"), "{}", ended.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_takes_all_is_not_in_the_report() {
    let (collector, _exported) = collector().await;
    let endpoint = format!("http://{}", collector.address());
    let (ended, _) = stop_with_collector(&endpoint).await;
    assert!(!ended.output.contains("telemetry  "), "{}", ended.output);
}
