//! Traces and metrics as a collector gets them that nobody here wrote: rotel, over both transports
//! of OTLP.

use downhaul::{App, Control, RequestId, Signal, Telemetry};
use downhaul_testkit::rabbitmq::shared;
use downhaul_testkit::telemetry::{Receiver, Rotel};
use tokio::process::Command;
use tokio::sync::mpsc;

use crate::broker_loss::vhost;
use crate::service::Service;

/// What an order shows in, of what is counted and timed.
const METRICS: [&str; 6] = [
    "http.server.request.duration",
    "http.server.active_requests",
    "messaging.process.duration",
    "messaging.client.operation.duration",
    "messaging.client.sent.messages",
    "messaging.client.consumed.messages",
];

/// Whether a collector has written down a metric of this name.
fn has_metric(log: &str, name: &str) -> bool {
    log.lines().any(|line| line.trim().strip_prefix("-> Name: ") == Some(name))
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// A span as the collector writes it down.
#[derive(Debug, Default)]
struct Received {
    trace: String,
    parent: String,
    id: String,
    name: String,
    kind: String,
    status: String,
    links: Vec<String>,
    attributes: Vec<(String, String)>,
}

impl Received {
    fn parse(text: &str) -> Self {
        let mut span = Self::default();
        let (mut in_links, mut in_attributes) = (false, false);
        for line in text.lines().map(str::trim) {
            match line {
                "Links:" => (in_links, in_attributes) = (true, false),
                "Attributes:" => in_attributes = true,
                "Events:" => in_attributes = false,
                _ => {}
            }
            let Some((key, value)) = line.split_once(':') else { continue };
            let (key, value) = (key.trim(), value.trim().to_owned());
            match key {
                "Trace ID" => span.trace = value,
                "Parent ID" => span.parent = value,
                "ID" => span.id = value,
                "Name" => span.name = value,
                "Kind" => span.kind = value,
                "Status code" => span.status = value,
                "-> ID" if in_links => span.links.push(value),
                key if in_attributes => {
                    let key = key.trim_start_matches("-> ").to_owned();
                    span.attributes.push((key, value));
                }
                _ => {}
            }
        }
        span
    }

    fn attribute(&self, name: &str) -> &str {
        let found = self.attributes.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }
}

fn received(receiver: &Receiver) -> Vec<Received> {
    let log = receiver.log().unwrap();
    log.split("\nSpan #").skip(1).map(Received::parse).collect()
}

/// Places an order while spans go to a collector by `protocol`, and returns what it got.
async fn trace_of_an_order(
    receiver: &Receiver,
    protocol: &str,
    broker: &str,
    id: &str,
) -> Vec<Received> {
    let endpoint = if protocol == "grpc" { receiver.grpc() } else { receiver.http() };
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=shop,team=a"),
    ];
    let service = Service::start_with(&["--broker", broker], &environment).await;
    let request = service.client().post(format!("http://{}/orders", service.listen()));
    let request = request.header("traceparent", format!("00-{TRACE}-{CALLER}-01"));
    let order = r#"{"product":"p-1","quantity":1}"#;
    let placed = request.header("x-request-id", id).body(order).send().await.unwrap();
    assert_eq!(placed.status(), 202);
    service.until_settled(1000).await;
    let ended = service.stop().await;
    assert!(ended.status.success(), "{}", ended.output);
    assert!(!ended.output.contains("were not exported"), "{}", ended.output);
    // It writes down what it has taken a moment later.
    let whole = async || {
        let last = received(receiver).iter().any(|span| span.name == "process orders");
        last && has_metric(&receiver.log().unwrap(), METRICS[0])
    };
    crate::service::until("the spans and metrics are written down", whole).await;
    received(receiver)
}

async fn the_trace_arrives_whole(protocol: &str, broker: &str) {
    let Some(rotel) = Rotel::find() else {
        return println!("SKIPPED: no rotel; `cargo xtask test` installs it");
    };
    let receiver = rotel.start().unwrap();
    let id = RequestId::generate().to_string();
    let spans = trace_of_an_order(&receiver, protocol, broker, &id).await;
    let one = |name: &str| {
        let named: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
        assert_eq!(named.len(), 1, "`{name}` in {spans:#?}");
        named[0]
    };
    let chain = [
        ("POST /orders", "SPAN_KIND_SERVER"),
        ("publish order.created", "SPAN_KIND_PRODUCER"),
        ("process inventory", "SPAN_KIND_CONSUMER"),
        ("publish order.confirmed", "SPAN_KIND_PRODUCER"),
        ("process orders", "SPAN_KIND_CONSUMER"),
    ];
    let mut parent = CALLER;
    for (name, kind) in chain {
        let span = one(name);
        assert_eq!((&*span.trace, &*span.parent), (TRACE, parent), "{name}");
        assert_eq!((&*span.kind, &*span.status), (kind, "STATUS_CODE_UNSET"), "{name}");
        assert_eq!(span.attribute("request_id"), format!("Str({id})"), "{name}");
        let links: &[&str] = if kind == "SPAN_KIND_CONSUMER" { &[parent] } else { &[] };
        assert_eq!(span.links, links, "{name}");
        parent = &span.id;
    }
    let request = one("POST /orders");
    assert_eq!(request.attribute("http.route"), "Str(/orders)");
    assert_eq!(request.attribute("http.response.status_code"), "Int(202)");
    let log = receiver.log().unwrap();
    assert!(log.contains("-> service.name: Str(shop)") && log.contains("-> team: Str(a)"), "{log}");
    let missing = METRICS.iter().find(|name| !has_metric(&log, name));
    assert_eq!(missing, None, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_of_others_gets_the_whole_trace_over_http() {
    let broker = tokio::task::block_in_place(shared);
    let (broker, _vhost) = vhost(&broker);
    the_trace_arrives_whole("http/protobuf", &broker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_of_others_gets_the_whole_trace_over_grpc() {
    the_trace_arrives_whole("grpc", "memory:").await;
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

#[tokio::test]
async fn over_grpc_what_was_set_up_before_a_runtime_of_one_thread_exports_its_last_spans() {
    let name = "over_grpc_what_was_set_up_before_a_runtime_of_one_thread_exports_its_last_spans";
    the_last_span_arrives(name, App::new("alone")).await;
}

#[tokio::test]
async fn an_app_that_does_not_start_exports_what_led_to_it() {
    let name = "an_app_that_does_not_start_exports_what_led_to_it";
    let nowhere = Control::new("no-port");
    the_last_span_arrives(name, App::new("never").control(nowhere)).await;
}

/// Runs the test of this name again, in a process of its own whose runtime has one thread as this
/// one has, and there the app.
async fn the_last_span_arrives(name: &str, app: App) {
    if std::env::var_os(ENDPOINT).is_some() {
        return run(app).await;
    }
    let Some(rotel) = Rotel::find() else {
        return println!("SKIPPED: no rotel; `cargo xtask test` installs it");
    };
    let receiver = rotel.start().unwrap();
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", &format!("otlp::{name}"), "--nocapture"]);
    again.env(ENDPOINT, receiver.grpc()).env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let ended = again.kill_on_drop(true).output().await.unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let there = async || received(&receiver).iter().any(|span| span.name == "the last");
    crate::service::until("the last span is written down", there).await;
}

/// Runs an app with a span that has ended and is not exported yet. Its telemetry was there before
/// any runtime was.
async fn run(app: App) {
    let install = || Telemetry::builder("alone").install().unwrap();
    let telemetry = std::thread::spawn(install).join().unwrap();
    tracing::info_span!("the last").in_scope(|| ());
    let (stop, signals) = mpsc::channel(1);
    stop.send(Signal::Terminate).await.unwrap();
    let report = app.telemetry(telemetry).run_with(signals).await;
    assert_eq!(report.telemetry, None, "{report}");
}
