//! A service that asks itself, and tells what its handlers see.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use downhaul::consumer::{
    Batches, Consumer, Failure, Incoming, MemoryBroker, Message, MessageObserver, Outgoing,
    PublishError, Publisher, Subscription,
};
use downhaul::context::TraceContext;
use downhaul::http::{Error, Request, RouteLimits, Router};
use downhaul::testing::{Client, TestApp};
use downhaul::{
    App, ConsumerWorker, Context, HttpServer, LogFormat, MessageSpans, Metrics, Telemetry,
};
use http::StatusCode;
use opentelemetry::Context as OtelContext;
use opentelemetry::trace::TraceContextExt;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tracing::{Instrument, Span, info, info_span, trace_span};

/// How many requests it gets: without a trace, of one that is not kept, and of one that is.
pub(super) const REQUESTS: [usize; 3] = [600, 40, 40];
/// How many spans it makes that belong to no request, and how often it publishes in none.
pub(super) const ROOTS: usize = 40;
/// What comes along with a trace.
const STATE: &str = "vendor=1";
/// All that is logged of each of them and its message, which is handled by two.
pub(super) const LINES: [&str; 7] = [
    "after a wait",
    "in a task",
    "in the consumer",
    "in the handler",
    "message processed",
    "message processed",
    "request ended",
];

/// A place in a trace, if there is one.
fn place(ctx: &Context) -> String {
    ctx.value::<TraceContext>().map(TraceContext::traceparent).unwrap_or_default()
}

/// Whether a trace began with who asks, whose ids are small. Those that begin here are random.
fn has_come(trace: &TraceContext) -> bool {
    trace.trace_id_bytes().starts_with(&[0; 7])
}

async fn work(
    ctx: Context,
    publisher: Publisher,
    inside: Publisher,
) -> Result<String, PublishError> {
    info!("in the handler");
    yield_now().await;
    info!("after a wait");
    assert!(trace_span!("a frame").is_disabled(), "nobody wants those of HTTP/2");
    let trace = ctx.value::<TraceContext>().filter(|trace| has_come(trace));
    assert!(trace.is_none_or(|trace| trace.tracestate() == Some(STATE)), "{trace:?}");
    let has_span = !Span::current().is_none();
    let task = async { info!("in a task") }.instrument(info_span!("own"));
    let active = OtelContext::current().has_active_span();
    assert!(has_span || !active, "what places a span is over when it is made");
    tokio::spawn(task).await.expect("it does not panic");
    announce(&inside).await;
    publisher.publish(&ctx, Outgoing::to_topic("t", Message::new(""))).await?;
    Ok(format!("{has_span} {}", place(&ctx)))
}

/// Tells of each publish whether it has a span, and its place in a trace.
#[derive(Debug)]
struct Told(&'static str);

impl Told {
    fn publisher(broker: &Arc<MemoryBroker>, word: &'static str) -> Publisher {
        Publisher::with_observer(broker.clone(), Arc::new(Self(word)))
    }
}

impl MessageObserver for Told {
    fn publish(&self, ctx: Context, outgoing: &Outgoing, system: &'static str) -> (Context, Span) {
        let (ctx, span) = MessageSpans.publish(ctx, outgoing, system);
        println!("\n{} {} {}", self.0, !span.is_none(), place(&ctx));
        (ctx, span)
    }
}

/// Publishes with a context of no request.
async fn announce(publisher: &Publisher) {
    let outgoing = Outgoing::to_topic("nobody", Message::new(""));
    publisher.publish(&Context::background(), outgoing).await.expect_err("there is no queue");
}

/// Goes on after its context has ended.
async fn hang(_: Context, _: Request) -> Result<(), Error> {
    std::future::pending().await
}

async fn batch(_: Context, _: Vec<Incoming<Message>>) -> Result<(), Failure> {
    info_span!("own in a batch").in_scope(|| ());
    yield_now().await;
    info_span!("own in a batch").in_scope(|| ());
    Ok(())
}

fn router(publisher: Publisher, inside: Publisher) -> Router {
    let work = move |ctx: Context, _: Request| {
        let (publisher, inside) = (publisher.clone(), inside.clone());
        async move { work(ctx, publisher, inside).await.map_err(Error::internal) }
    };
    let soon = Duration::from_millis(1);
    let hangs =
        Router::new().get("/now", hang).limits(RouteLimits::new().timeout(soon).cancel_grace(soon));
    Router::new().get("/work", work).nest("/hang", hangs)
}

/// Prints of each request its id, whether it had a span, and its place in its trace.
pub(super) async fn serve(sampled_only: bool) {
    let telemetry = Telemetry::builder("sampled").log(LogFormat::Json).metrics(Metrics::None);
    let telemetry = if sampled_only { telemetry.sampled_spans_only() } else { telemetry };
    let telemetry = telemetry.install().unwrap();
    let broker = Arc::new(MemoryBroker::new());
    let (done, mut handled) = mpsc::unbounded_channel();
    let handle = move |ctx: Context, _: Incoming<Message>| {
        info!(place = place(&ctx), "in the consumer");
        done.send(()).expect("somebody counts");
        async {}
    };
    let consumer = Consumer::new(Subscription::new("q").topic("t"), handle);
    let batches = Consumer::batches(Subscription::new("b").topic("t"), Batches::of(1), batch);
    let publisher = Publisher::with_observer(broker.clone(), Arc::new(MessageSpans));
    let (alone, inside) = (Told::publisher(&broker, "alone"), Told::publisher(&broker, "inside"));
    for _ in 0..ROOTS {
        announce(&publisher).instrument(info_span!("root")).await;
        announce(&alone).await;
    }
    let (server, connector) = HttpServer::in_memory(router(publisher, inside));
    let mut app = App::new("sampled").telemetry(telemetry);
    let consumer = app.add("q", ConsumerWorker::new(consumer, broker.clone()), []);
    let batches = app.add("b", ConsumerWorker::new(batches, broker), []);
    app.add("http", server, [consumer, batches]);
    let app = TestApp::start(app).await;
    let client = Client::new(connector);

    let parent = |trace: u128, kept: u8| Some(format!("00-{trace:032x}-00f067aa0ba902b7-0{kept}"));
    let (status, _) = ask(&client, "/hang/now", "id-hangs", parent(1 << 100, 0)).await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    for (kind, count) in REQUESTS.into_iter().enumerate() {
        for number in 0..count {
            let trace = (kind as u128) << 64 | number as u128;
            let parent = match kind {
                0 => None,
                kept => parent(trace, u8::from(kept == 2)),
            };
            let id = format!("id-{kind}-{number}");
            let (status, answer) = ask(&client, "/work", &id, parent).await;
            assert_eq!(status, StatusCode::OK);
            println!("\nplaced {id} {answer}");
            handled.recv().await.unwrap();
        }
    }
    app.stop().await.assert_clean();
}

async fn ask(
    client: &Client,
    path: &str,
    id: &str,
    parent: Option<String>,
) -> (StatusCode, String) {
    let mut request = http::Request::get(path).header("x-request-id", id);
    if let Some(parent) = parent {
        request = request.header("traceparent", parent).header("tracestate", STATE);
    }
    let answer = client.send(request.body(Bytes::new()).unwrap()).await;
    (answer.status(), String::from_utf8_lossy(answer.body()).into_owned())
}
