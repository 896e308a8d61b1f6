//! What is recorded, under which names, as the page shows it.

#![cfg(feature = "prometheus")]

mod consumers;
mod relays;

use std::collections::BTreeSet;
use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Consumer, Failure, Incoming, MemoryBroker, Message, MessageObserver, Meta, Outgoing, Processed,
    Published, Publisher, RetryPolicy, Subscription,
};
use downhaul_context::{Context, TraceContext};
use downhaul_http::observe::{Outcome, RequestHead};
use downhaul_http::{DrainPlan, Error, Request, RequestObserver, Router, Server};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing::Span;

use super::*;
use crate::report::{ComponentReport, Outcome as Stopped};

/// Instruments of their own, and their page.
#[derive(Clone)]
struct Recording(Arc<(Instruments, Page, SdkMeterProvider)>);

impl Recording {
    fn new() -> Self {
        let (reader, page) = Page::new().unwrap();
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        Self(Arc::new((Instruments::new(provider.meter("downhaul")), page, provider)))
    }

    fn instruments(&self) -> &Instruments {
        &self.0.0
    }

    fn text(&self) -> String {
        self.0.1.text().unwrap()
    }

    /// The series of a metric: labels and value, without the scope.
    fn series(&self, name: &str) -> BTreeSet<String> {
        let text = self.text();
        let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
        let scope = "otel_scope_name=\"downhaul\"";
        lines.map(|line| line.replace(&format!(",{scope}"), "").replace(scope, "")).collect()
    }

    /// What is counted under a name: the values of the attributes, and the number, but zeros.
    fn counted(&self, name: &str) -> BTreeSet<String> {
        let words = |line: &String| {
            let (attributes, count) = line.rsplit_once(' ').unwrap();
            let values: Vec<_> = attributes.split('"').skip(1).step_by(2).collect();
            (count != "0").then(|| format!("{} {count}", values.join(" ")))
        };
        self.series(name).iter().filter_map(words).collect()
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recording")
    }
}

impl RequestObserver for Recording {
    fn open(&self, head: &RequestHead<'_>) -> (Span, Option<TraceContext>) {
        self.instruments().request_began(head);
        (Span::none(), None)
    }

    fn close(&self, _span: &Span, outcome: &Outcome<'_>) {
        self.instruments().request_ended(outcome);
    }
}

impl MessageObserver for Recording {
    fn process(&self, ctx: Context, meta: &Meta) -> (Context, Span) {
        self.instruments().message_came(meta);
        (ctx, Span::none())
    }

    fn published(&self, publish: &Published<'_>) {
        self.instruments().message_published(publish);
    }

    fn processed(&self, attempt: &Processed<'_>) {
        self.instruments().message_processed(attempt);
    }
}

fn set<const N: usize>(lines: [&str; N]) -> BTreeSet<String> {
    lines.map(str::to_owned).into()
}

/// Sends each of these to a server of a few routes, and drains it.
async fn serve(recording: &Recording, requests: &[&str]) {
    let router = Router::new()
        .get("/orders/{id}", async |_: Context, _: Request| "an order")
        .get("/fails", async |_: Context, _: Request| Err::<(), _>(Error::unavailable("no")))
        .get("/late", async |_: Context, _: Request| pending::<()>().await);
    let server = Server::bind("127.0.0.1:0").await.unwrap().observer(recording.clone());
    let running = server.timeout(Duration::from_millis(100)).serve(Context::background(), router);
    for request in requests {
        let mut client = TcpStream::connect(running.address().tcp().unwrap()).await.unwrap();
        let head = format!("{request} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        client.read_to_end(&mut Vec::new()).await.unwrap();
    }
    let _ = running.drain(DrainPlan::default().without_lame_duck()).await;
}

#[tokio::test]
async fn requests_are_measured_with_the_attributes_of_the_conventions() {
    let recording = Recording::new();
    serve(&recording, &["GET /orders/1", "GET /orders/2", "GET /fails", "GET /late"]).await;
    let of = |error: &str, route: &str, status: u16, count: u32| {
        let error = if error.is_empty() { "".into() } else { format!("error_type=\"{error}\",") };
        format!(
            "{error}http_request_method=\"GET\",http_response_status_code=\"{status}\",\
             http_route=\"{route}\",network_protocol_version=\"1.1\",url_scheme=\"http\"}} {count}"
        )
    };
    let expected = [
        of("", "/orders/{id}", 200, 2),
        of("503", "/fails", 503, 1),
        of("deadline", "/late", 504, 1),
    ];
    assert_eq!(recording.series("http_server_request_duration_seconds_count"), expected.into());
    let in_flight = set(["http_request_method=\"GET\",url_scheme=\"http\"} 0"]);
    assert_eq!(recording.series("http_server_active_requests"), in_flight);
}

#[tokio::test]
async fn durations_have_the_buckets_of_the_conventions() {
    let recording = Recording::new();
    serve(&recording, &["GET /orders/1"]).await;
    let buckets = recording.series("http_server_request_duration_seconds_bucket");
    let bound =
        |line: &String| line.split_once("le=\"").unwrap().1.split('"').next().unwrap().to_owned();
    let bounds: BTreeSet<_> = buckets.iter().map(bound).collect();
    let expected = set([
        "0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75", "1", "2.5", "5",
        "7.5", "10", "+Inf",
    ]);
    assert_eq!(bounds, expected);
}

#[tokio::test]
async fn what_a_client_makes_up_makes_no_series() {
    let recording = Recording::new();
    let made_up: Vec<_> = (0..50).map(|one| format!("BREW{one} /made/up/{one}")).collect();
    serve(&recording, &made_up.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let expected = set(["http_request_method=\"_OTHER\",http_response_status_code=\"404\",\
                         network_protocol_version=\"1.1\",url_scheme=\"http\"} 50"]);
    assert_eq!(recording.series("http_server_request_duration_seconds_count"), expected);
}

#[tokio::test(start_paused = true)]
async fn messages_are_measured_once_a_delivery_and_each_attempt_with_what_became_of_it() {
    let recording = Recording::new();
    let (ctx, _canceller) = Context::root();
    let (broker, observer) = (Arc::new(MemoryBroker::new()), Arc::new(recording.clone()));
    let handle = |_: Context, message: Incoming<Message>| async move {
        match message.attempt() {
            1 => Err(Failure::from(std::io::Error::other("not yet"))),
            _ => Ok(()),
        }
    };
    let retry = RetryPolicy::default().backoff(Duration::ZERO, Duration::ZERO);
    let consumer = Consumer::new(Subscription::new("inventory").topic("created"), handle);
    let consumer = consumer.retry(retry).observer(observer.clone());
    let consumer = consumer.spawn(&ctx, broker.clone());
    consumer.settled().await;
    let publisher = Publisher::with_observer(broker, observer);
    for topic in ["created", "nobody.wants.it"] {
        let _ = publisher.publish(&ctx, Outgoing::to_topic(topic, Message::new(""))).await;
    }
    while consumer.tally().acked == 0 {
        tokio::task::yield_now().await;
    }
    let consumed = set(["messaging_destination_name=\"inventory\",\
                         messaging_operation_name=\"process\",messaging_system=\"memory\"} 1"]);
    assert_eq!(recording.series("messaging_client_consumed_messages_total"), consumed);
    let of = |error: &str, destination: &str, operation: &str| {
        let error = if error.is_empty() { "".into() } else { format!("error_type=\"{error}\",") };
        let kind = if operation == "publish" { "messaging_operation_type=\"send\"," } else { "" };
        format!(
            "{error}messaging_destination_name=\"{destination}\",messaging_operation_name=\
             \"{operation}\",{kind}messaging_system=\"memory\"}} 1"
        )
    };
    let attempts = [of("", "inventory", "process"), of("retry", "inventory", "process")];
    assert_eq!(recording.series("messaging_process_duration_seconds_count"), attempts.into());
    let published = [of("", "created", "publish"), of("returned", "nobody.wants.it", "publish")];
    let name = "messaging_client_operation_duration_seconds_count";
    assert_eq!(recording.series(name), published.clone().into());
    let sent = published.map(|one| one.replace("messaging_operation_type=\"send\",", ""));
    assert_eq!(recording.series("messaging_client_sent_messages_total"), sent.into());
}

#[tokio::test]
async fn contexts_are_counted_when_somebody_looks_and_stragglers_while_they_are_held() {
    let recording = Recording::new();
    let (root, _root) = Context::background().derive().label("shop").observed().build();
    recording.instruments().watch(&root);
    let (_lives, _canceller) = root.derive().observed().build();
    let (held, canceller) = root.derive().observed().build();
    assert!(recording.series("downhaul_contexts").contains("downhaul_context_level=\"live\"} 3"));
    canceller.cancel();
    assert!(recording.series("downhaul_contexts").contains("downhaul_context_level=\"live\"} 2"));
    assert_eq!(recording.series("downhaul_stragglers"), set(["} 1"]));
    drop((held, canceller));
    assert_eq!(recording.series("downhaul_stragglers"), set(["} 0"]));
}

#[test]
fn stops_are_measured_with_their_component_and_outcome() {
    let recording = Recording::new();
    for outcome in [Stopped::Abandoned, Stopped::NotRunning] {
        recording.instruments().drained(&ComponentReport::new("http", outcome));
    }
    let abandoned = set(["downhaul_component_name=\"http\",downhaul_outcome=\"abandoned\"} 1"]);
    assert_eq!(recording.series("downhaul_drain_duration_seconds_count"), abandoned);
}

#[test]
fn the_contexts_of_all_apps_are_counted_together() {
    let recording = Recording::new();
    let (first, _first) = Context::root();
    let (second, over) = Context::root();
    recording.instruments().watch(&first);
    recording.instruments().watch(&second);
    assert!(recording.series("downhaul_contexts").contains("downhaul_context_level=\"live\"} 2"));
    over.cancel();
    assert!(recording.series("downhaul_contexts").contains("downhaul_context_level=\"live\"} 1"));
    assert_eq!(recording.series("downhaul_stragglers"), set(["} 0"]), "nobody else holds it");
}
