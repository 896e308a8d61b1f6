//! [`SpanRecorder`]: the spans of a test.

use std::collections::BTreeMap;
use std::fmt;

use opentelemetry::trace::{SpanId, Status, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::telemetry::span_layer;

/// Keeps the spans that end on this thread, as a collector would get them, until it is dropped.
///
/// A test of tokio's runs on one thread unless it says otherwise, so these are its spans, and no
/// other test's.
///
/// # Examples
///
/// ```
/// use downhaul::http::{Error, Request, Router};
/// use downhaul::testing::{Client, SpanRecorder, TestApp};
/// use downhaul::{App, Context, HttpServer};
///
/// async fn user(_ctx: Context, req: Request) -> Result<String, Error> {
///     req.param("id")
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let spans = SpanRecorder::start();
/// let (server, connector) = HttpServer::in_memory(Router::new().get("/users/{id}", user));
/// let mut app = App::new("users");
/// app.add("http", server, []);
/// let app = TestApp::start(app).await;
/// Client::new(connector).get("/users/7").await;
/// app.stop().await.assert_clean();
///
/// let request = spans.named("GET /users/{id}");
/// assert_eq!((&*request.kind, request.parent.as_deref()), ("server", None));
/// assert_eq!(request.attributes["url.path"], "/users/7");
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping it ends the recording"]
pub struct SpanRecorder {
    exporter: InMemorySpanExporter,
    _provider: SdkTracerProvider,
    _recording: DefaultGuard,
}

/// A span that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedSpan {
    /// What it is called, such as `POST /orders` or `process inventory`.
    pub name: String,
    /// `server`, `producer`, `consumer`, `client` or `internal`.
    pub kind: String,
    /// Which trace it is part of, in hexadecimal.
    pub trace_id: String,
    /// Its own id, in hexadecimal.
    pub span_id: String,
    /// The id of the span that it is a child of, unless it is the first of its trace.
    pub parent: Option<String>,
    /// The ids of the spans that it is linked to.
    pub links: Vec<String>,
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// Whether it is marked as failed.
    pub failed: bool,
}

impl SpanRecorder {
    /// Records from now on, every span, whatever the environment says.
    pub fn start() -> Self {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = span_layer(provider.tracer("downhaul"));
        let recording = tracing_subscriber::registry().with(layer).set_default();
        Self { exporter, _provider: provider, _recording: recording }
    }

    /// The spans that have ended so far, in the order in which they ended.
    pub fn ended(&self) -> Vec<RecordedSpan> {
        let spans = self.exporter.get_finished_spans().unwrap_or_default();
        spans.into_iter().map(RecordedSpan::of).collect()
    }

    /// The one span of this name.
    ///
    /// # Panics
    ///
    /// If there is none or there are several, with the spans that there are.
    #[track_caller]
    pub fn named(&self, name: &str) -> RecordedSpan {
        let mut spans = self.ended();
        let found = spans.iter().filter(|span| span.name == name).count();
        match spans.iter().position(|span| span.name == name) {
            Some(index) if found == 1 => spans.swap_remove(index),
            _ => panic!("{found} spans `{name}`; these have ended:\n{}", Listed(&spans)),
        }
    }
}

impl RecordedSpan {
    fn of(span: SpanData) -> Self {
        let parent = Some(span.parent_span_id).filter(|id| *id != SpanId::INVALID);
        let attribute = |it: opentelemetry::KeyValue| (it.key.to_string(), it.value.to_string());
        Self {
            name: span.name.into_owned(),
            kind: format!("{:?}", span.span_kind).to_lowercase(),
            trace_id: span.span_context.trace_id().to_string(),
            span_id: span.span_context.span_id().to_string(),
            parent: parent.map(|id| id.to_string()),
            links: span.links.iter().map(|link| link.span_context.span_id().to_string()).collect(),
            attributes: span.attributes.into_iter().map(attribute).collect(),
            failed: matches!(span.status, Status::Error { .. }),
        }
    }

    /// Whether it is a child of `other`, in one trace.
    pub fn is_child_of(&self, other: &Self) -> bool {
        self.trace_id == other.trace_id && self.parent.as_deref() == Some(&*other.span_id)
    }

    /// Whether it is linked to `other`.
    pub fn is_linked_to(&self, other: &Self) -> bool {
        self.links.contains(&other.span_id)
    }
}

/// Spans, a line each.
struct Listed<'a>(&'a [RecordedSpan]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|span| writeln!(f, "  {} ({})", span.name, span.kind))
    }
}
