//! Traces: through the service as they are, and to a collector where there is one.

use std::sync::Arc;

use downhaul::Context;
use downhaul::consumer::headers::TRACEPARENT;
use downhaul::consumer::{Broker, Subscription};
use downhaul::rabbitmq::RabbitMq;
use downhaul_testkit::rabbitmq::shared;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
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
    let parent = deliveries[0].message.headers().get(TRACEPARENT).unwrap();
    // Nobody traces here, so the position is the caller's.
    assert_eq!(parent, format!("00-{TRACE}-00f067aa0ba902b7-01"));
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_both_sides_reach_the_collector_that_the_environment_names() {
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let (sender, mut received) = mpsc::unbounded_channel();
    let collecting = tokio::spawn(async move {
        loop {
            let (stream, _) = collector.accept().await.unwrap();
            tokio::spawn(collect(stream, sender.clone()));
        }
    });
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let service = Service::start_with(&[], &environment).await;
    place_traced(&service).await;
    service.until_settled(1000).await;
    let ended = service.stop().await;
    assert!(ended.status.success(), "{}", ended.output);
    collecting.abort();

    let mut all = Vec::new();
    while let Ok(request) = received.try_recv() {
        all.extend(request);
    }
    let all = String::from_utf8_lossy(&all);
    let spans = ["POST /orders", "publish order.created", "process inventory", "process orders"];
    for name in ["POST /v1/traces"].into_iter().chain(spans) {
        assert!(all.contains(name), "no `{name}`");
    }
}

/// Reads requests and answers each with 200; passes on what was read.
async fn collect(mut stream: TcpStream, received: mpsc::UnboundedSender<Vec<u8>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        received.send(buffer[..count].to_vec()).unwrap();
        // Answering each piece rather than each request is enough here: the client sends one at a
        // time and waits.
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
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
