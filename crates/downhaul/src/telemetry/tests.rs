//! Spans as they are exported.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use downhaul_consumer::{
    Batches, Broker, Consumer, Failure, Incoming, MemoryBroker, MemoryLog, Message, Outgoing,
    Publisher, RetryPolicy, Subscription,
};
use downhaul_context::{Context, TraceContext};
use downhaul_http::{Error, Request, Router};
use http::StatusCode;
use opentelemetry::trace::{SpanId, SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context as OtelContext, KeyValue, Value};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData, SpanExporter,
};
use tracing::subscriber::DefaultGuard;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::exports::Exports;
use super::{MessageSpans, Telemetry, span_layer};
use crate::testing::{Client, TestApp};
use crate::{App, HttpServer, LogFormat, logging};

/// Keeps what is exported on this thread, as long as the guard is held.
fn exporting() -> (InMemorySpanExporter, DefaultGuard) {
    sampling(Sampler::AlwaysOn)
}

fn sampling(sampler: Sampler) -> (InMemorySpanExporter, DefaultGuard) {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_sampler(sampler);
    let provider = provider.with_simple_exporter(exporter.clone()).build();
    let layer = span_layer(provider.tracer("test"));
    (exporter, tracing_subscriber::registry().with(layer).set_default())
}

async fn until_named(exporter: &InMemorySpanExporter, name: &str, count: usize) -> Vec<SpanData> {
    loop {
        let spans = exporter.get_finished_spans().unwrap();
        let named: Vec<_> = spans.into_iter().filter(|span| span.name == name).collect();
        if named.len() >= count {
            return named;
        }
        tokio::task::yield_now().await;
    }
}

fn attribute<'a>(span: &'a SpanData, name: &str) -> Option<&'a Value> {
    let found = span.attributes.iter().find(|KeyValue { key, .. }| key.as_str() == name);
    found.map(|found| &found.value)
}

fn error_type(span: &SpanData) -> Option<&Value> {
    attribute(span, "error.type")
}

async fn publish<B: Broker>(broker: &Arc<B>, topic: &str) {
    let publisher = Publisher::with_observer(Arc::clone(broker) as _, Arc::new(MessageSpans));
    let outgoing = Outgoing::to_topic(topic.to_owned(), Message::new(""));
    let _ = publisher.publish(&Context::background(), outgoing).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_a_trace_of_its_own_and_a_link_to_each_of_its_messages() {
    let (exporter, _exporting) = exporting();
    let (ctx, _canceller) = Context::root();
    let broker = Arc::new(MemoryBroker::new());
    let handle = |_: Context, _: Vec<Incoming<Message>>| async { Ok::<(), Failure>(()) };
    let batches = Batches::of(2).within(Duration::from_secs(60));
    let consumer = Consumer::batches(Subscription::new("q").topic("t"), batches, handle);
    let consumer = consumer.observer(Arc::new(MessageSpans)).spawn(&ctx, broker.clone());
    consumer.settled().await;
    publish(&broker, "t").await;
    publish(&broker, "t").await;
    let published = until_named(&exporter, "publish t", 2).await;
    let batch = until_named(&exporter, "process q", 1).await.remove(0);
    let ids = |spans: &[SpanData]| -> Vec<_> {
        spans.iter().map(|span| span.span_context.span_id()).collect()
    };
    let linked: Vec<_> = batch.links.iter().map(|link| link.span_context.span_id()).collect();
    assert_eq!(linked, ids(&published));
    assert_eq!((batch.parent_span_id, batch.span_kind), (SpanId::INVALID, SpanKind::Consumer));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_and_a_publish_that_failed_mark_their_spans() {
    let (exporter, _exporting) = exporting();
    let (ctx, _canceller) = Context::root();
    let broker = Arc::new(MemoryBroker::new());
    let handle = |_: Context, message: Incoming<Message>| async move {
        match message.attempt() {
            1 => Err(Failure::from(std::io::Error::other("not yet"))),
            _ => Ok(()),
        }
    };
    let retry = RetryPolicy::default().backoff(Duration::ZERO, Duration::ZERO);
    let consumer = Consumer::new(Subscription::new("q").topic("t"), handle).retry(retry);
    let consumer = consumer.observer(Arc::new(MessageSpans)).spawn(&ctx, broker.clone());
    consumer.settled().await;
    publish(&broker, "t").await;
    publish(&broker, "nobody").await;
    let attempts = until_named(&exporter, "process q", 2).await;
    assert_eq!(error_type(&attempts[0]), Some(&"retry".into()));
    assert_eq!(attempts[0].status, Status::error(""));
    assert_eq!((error_type(&attempts[1]), &attempts[1].status), (None, &Status::Unset));
    let unwanted = until_named(&exporter, "publish nobody", 1).await.remove(0);
    assert_eq!(error_type(&unwanted), Some(&"returned".into()));
    assert_eq!(unwanted.status, Status::error(""));
}

#[tokio::test(start_paused = true)]
async fn a_message_of_a_log_tells_its_partition() {
    let (exporter, _exporting) = exporting();
    let (ctx, _canceller) = Context::root();
    let broker = Arc::new(MemoryLog::new(1));
    let handle = |_: Context, _: Incoming<Message>| async {};
    let consumer = Consumer::new(Subscription::new("q").topic("t"), handle);
    let consumer = consumer.observer(Arc::new(MessageSpans)).spawn(&ctx, broker.clone());
    consumer.settled().await;
    publish(&broker, "t").await;
    let attempt = until_named(&exporter, "process q", 1).await.remove(0);
    assert_eq!(attribute(&attempt, "messaging.destination.partition.id"), Some(&"0".into()));
    assert_eq!(attribute(&attempt, "messaging.kafka.offset"), None, "of Kafka alone");
}

/// All that is exported of the requests of a service.
async fn requested(requests: impl IntoIterator<Item = &'static str>) -> Vec<SpanData> {
    let (exporter, _exporting) = exporting();
    let router = Router::new()
        .get("/orders/{id}", async |_: Context, _: Request| Ok::<_, Error>("here"))
        .post("/orders/{id}", async |_: Context, _: Request| {
            Err::<(), _>(Error::new(StatusCode::SERVICE_UNAVAILABLE, "not now"))
        });
    let (server, connector) = HttpServer::in_memory(router);
    let mut app = App::new("orders");
    app.add("http", server, []);
    let app = TestApp::start(app).await;
    let client = Client::new(connector);
    for request in requests {
        let (method, path) = request.split_once(' ').unwrap();
        let request = http::Request::builder().method(method).uri(path);
        client.send(request.header("x-request-id", "id-1").body(Bytes::new()).unwrap()).await;
    }
    app.stop().await.assert_clean();
    exporter.get_finished_spans().unwrap()
}

/// Its attributes by name.
fn attributes(span: &SpanData) -> BTreeMap<&str, Value> {
    let pairs = span.attributes.iter().map(|it| (it.key.as_str(), it.value.clone()));
    let all: BTreeMap<_, _> = pairs.collect();
    assert_eq!(all.len(), span.attributes.len(), "one twice: {all:?}");
    all
}

fn words<const N: usize>(
    words: [(&'static str, &'static str); N],
) -> BTreeMap<&'static str, Value> {
    words.into_iter().map(|(name, word)| (name, word.into())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_request_is_exported_with_what_the_conventions_ask_for_and_no_more() {
    let spans = requested(["GET /orders/7", "POST /orders/7", "BREW /nowhere"]).await;
    let [answered, failed, strange] = spans.try_into().unwrap();
    let of = |method, path, status: i64| {
        let mut all = words([
            ("request_id", "id-1"),
            ("http.request.method", method),
            ("network.protocol.version", "1.1"),
            ("url.path", path),
            ("url.scheme", "http"),
        ]);
        all.insert("http.response.status_code", status.into());
        all
    };
    let mut expected = of("GET", "/orders/7", 200);
    expected.extend(words([("http.route", "/orders/{id}")]));
    assert_eq!(attributes(&answered), expected);
    assert_eq!((&*answered.name, answered.status), ("GET /orders/{id}", Status::Unset));
    assert_eq!(answered.span_kind, SpanKind::Server);

    let mut expected = of("POST", "/orders/7", 503);
    expected.extend(words([("http.route", "/orders/{id}"), ("error.type", "503")]));
    assert_eq!(attributes(&failed), expected);
    assert_eq!((&*failed.name, failed.status), ("POST /orders/{id}", Status::error("")));

    let mut expected = of("_OTHER", "/nowhere", 404);
    expected.extend(words([("http.request.method_original", "BREW")]));
    assert_eq!(attributes(&strange), expected);
    assert_eq!((&*strange.name, strange.status), ("HTTP", Status::Unset));
}

#[tokio::test(start_paused = true)]
async fn spans_inside_a_request_that_is_not_kept_are_not_kept_either() {
    // Kept, if it were a root.
    let sampler = Sampler::ParentBased(Box::new(Sampler::AlwaysOn));
    let (exporter, _exporting) = sampling(sampler);
    let handle = |ctx: Context, _: Request| async move {
        let own = tracing::info_span!("own").in_scope(|| tracing::Span::current().context());
        let request = tracing::Span::current().context();
        let [own, request] = [own, request].map(|it| it.span().span_context().clone());
        assert_eq!(own.trace_id(), request.trace_id());
        assert!(request.is_valid() && !request.is_sampled() && !own.is_sampled());
        let bound = ctx.value::<TraceContext>().unwrap();
        assert_eq!(request.span_id().to_bytes(), bound.span_id_bytes());
        assert_eq!(OtelContext::current().span().span_context(), &request);
        Ok::<_, Error>(())
    };
    let (server, connector) = HttpServer::in_memory(Router::new().get("/", handle));
    let mut app = App::new("places");
    app.add("http", server, []);
    let app = TestApp::start(app).await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let request = http::Request::get("/").header("traceparent", parent);
    let answer = Client::new(connector).send(request.body(Bytes::new()).unwrap()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    app.stop().await.assert_clean();
    assert!(exporter.get_finished_spans().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_kept_has_its_place_in_the_trace_all_the_same() {
    let (exporter, _exporting) = sampling(Sampler::AlwaysOff);
    let place = |ctx: Context, _: Request| async move {
        let place = ctx.value::<TraceContext>().map(TraceContext::traceparent);
        Ok::<_, Error>(place.unwrap_or_default())
    };
    let (server, connector) = HttpServer::in_memory(Router::new().get("/", place));
    let mut app = App::new("places");
    app.add("http", server, []);
    let app = TestApp::start(app).await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = http::Request::get("/").header("traceparent", parent);
    let answer = Client::new(connector).send(request.body(Bytes::new()).unwrap()).await;
    let place = std::str::from_utf8(answer.body()).unwrap();
    assert!(place.starts_with(&parent[..36]) && place.ends_with("-00"), "{place}");
    assert_ne!(place[36..52], parent[36..52], "its own span, not its caller's");
    app.stop().await.assert_clean();
    assert!(exporter.get_finished_spans().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_published_for_no_request_has_no_id_of_one() {
    let (exporter, _exporting) = exporting();
    publish(&Arc::new(MemoryBroker::new()), "t").await;
    let published = until_named(&exporter, "publish t", 1).await.remove(0);
    assert_eq!(attributes(&published).get("request_id"), None);
}

#[tokio::test]
async fn of_apps_that_share_their_telemetry_each_exports_and_the_last_one_ends_it() {
    let exporter = InMemorySpanExporter::default();
    // Nothing of a batch is exported before somebody asks for it, for some seconds.
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter.clone()).build();
    let tracer = provider.tracer("test");
    let mut exports = Exports::default();
    exports.spans = Some(provider);
    let (_, lines) = tracing_appender::non_blocking(std::io::sink());
    let telemetry = Telemetry::new(exports, lines);
    let first = TestApp::start(App::new("first").telemetry(telemetry.clone())).await;
    let second = TestApp::start(App::new("second").telemetry(telemetry)).await;

    drop(tracer.start("work"));
    first.stop().await.assert_clean();
    assert_eq!(exporter.get_finished_spans().unwrap().len(), 1);
    assert!(!exporter.is_shutdown_called());
    let report = second.stop().await;
    assert_eq!(report.telemetry, None, "{report}");
    assert!(exporter.is_shutdown_called());
}

/// A collector that nobody reaches.
#[derive(Debug)]
struct NoCollector;

impl SpanExporter for NoCollector {
    async fn export(&self, _batch: Vec<SpanData>) -> OTelSdkResult {
        Err(OTelSdkError::InternalFailure("connection refused".to_owned()))
    }
}

/// What was written, by lines.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_telemetry_lost_is_in_the_log_and_the_report_is_its_last_line() {
    let provider = SdkTracerProvider::builder().with_batch_exporter(NoCollector).build();
    let tracer = provider.tracer("test");
    let mut exports = Exports::default();
    exports.spans = Some(provider);
    exports.collectors.spans = Some("http://collector:4318".to_owned());
    let written = Written::default();
    let (writer, lines) = tracing_appender::non_blocking(written.clone());
    let lined = tracing_subscriber::registry().with(logging::layer(LogFormat::Text, writer));
    let _lined = lined.set_default();

    let telemetry = Telemetry::new(exports, lines);
    let app = TestApp::start(App::new("shop").telemetry(telemetry)).await;
    drop(tracer.start("work"));
    let report = app.stop().await;
    let lost = report.telemetry.clone().unwrap();
    assert!(lost.contains("connection refused"), "{lost}");
    assert!(lost.ends_with(" (to http://collector:4318)"), "{lost}");
    let written = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    let [.., lost_line, last_line] = &written.lines().collect::<Vec<_>>()[..] else {
        panic!("{written}")
    };
    assert!(lost_line.contains(" WARN ") && lost_line.ends_with(&lost), "{written}");
    let took = format!("took_ms={}", report.took.as_millis());
    assert!(last_line.contains(": stopped ") && last_line.contains(&took), "{written}");
}
