//! Traces: through the service as they are, and to a collector where there is one.

use std::sync::Arc;

use downhaul::Context;
use downhaul::consumer::headers::TRACEPARENT;
use downhaul::consumer::{Broker, Subscription};
use downhaul::http::{Error, Request, Router, Running, Server};
use downhaul::rabbitmq::RabbitMq;
use downhaul_testkit::rabbitmq::shared;
use reqwest::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::broker_loss::vhost;
use crate::service::Service;

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

/// A collector of traces, and what is exported to it.
async fn collector() -> (Running, mpsc::UnboundedReceiver<Vec<u8>>) {
    let (sender, exported) = mpsc::unbounded_channel();
    let router = Router::with_state(sender).post("/v1/traces", collect);
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    (server.serve(Context::background(), router), exported)
}

async fn collect(
    _ctx: Context,
    mut req: Request<mpsc::UnboundedSender<Vec<u8>>>,
) -> Result<StatusCode, Error> {
    let export = req.bytes().await?;
    // Whoever has stopped reading has seen enough.
    let _ = req.state().send(export.to_vec());
    Ok(StatusCode::OK)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_does_not_hold_the_stop() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let service = Service::start_with(&["--grace", "5s"], &environment).await;
    service.place_many(1).await;
    let ended = service.stop().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.output);
    assert!(ended.output.contains("the last spans were not exported"), "{}", ended.output);
}
