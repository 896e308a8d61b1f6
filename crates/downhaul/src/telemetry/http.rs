//! [`HttpSpans`]: the span, the access line and the metrics of each request.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use downhaul_context::{Context, TraceContext};
use downhaul_http::observe::{Ending, Outcome, RequestHead};
use downhaul_http::{AccessLog, RequestObserver};
use http::Version;
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanKind, SpanRef, Status};
use tracing::{Span, info_span};

use super::baggage;
use super::metrics::{instruments, known_method};
use super::sampling;
use super::trace::{begin, conclude, set_remote_parent, span_context};

/// Makes a server span of each request by OpenTelemetry's conventions, a child of the caller's if
/// one was sent; and its metrics, if anybody wants them.
///
/// The span of `tracing` has the request id alone, for lines. The rest is told to OpenTelemetry, of
/// requests that are exported.
///
/// An [`HttpServer`](crate::HttpServer) has it by itself. To write other access lines, give it an
/// observer for these; a server's own observer takes the place of the spans as well.
///
/// # Examples
///
/// ```
/// use downhaul::http::observe::Outcome;
/// use downhaul::http::{RequestObserver, Router};
/// use downhaul::{HttpServer, HttpSpans};
///
/// struct Lines;
///
/// impl RequestObserver for Lines {
///     fn close(&self, _: &tracing::Span, outcome: &Outcome<'_>) {
///         let Outcome { peer, method, path, status, sent, .. } = outcome;
///         println!("{peer} {method} {path} {} {sent}", status.as_u16());
///     }
/// }
///
/// let server = HttpServer::new("127.0.0.1:8080", Router::new());
/// let server = server.configure(|server| server.observer(HttpSpans::with_lines(Lines)));
/// # drop(server);
/// ```
#[derive(Clone)]
pub struct HttpSpans {
    lines: Arc<dyn RequestObserver>,
}

impl HttpSpans {
    /// With the lines of this observer in place of those of [`AccessLog`]: its
    /// [`close`](RequestObserver::close) is called at the end of each request, and no more of it.
    pub fn with_lines(lines: impl RequestObserver) -> Self {
        Self { lines: Arc::new(lines) }
    }
}

impl Default for HttpSpans {
    fn default() -> Self {
        Self::with_lines(AccessLog::default())
    }
}

impl fmt::Debug for HttpSpans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSpans").finish_non_exhaustive()
    }
}

impl RequestObserver for HttpSpans {
    fn open(&self, head: &RequestHead<'_>) -> (Span, Option<TraceContext>) {
        if let Some(instruments) = instruments() {
            instruments.request_began(head);
        }
        sampling::span(head.trace, &SpanKind::Server, || begin_request(head))
    }

    fn bind(&self, ctx: Context, head: &RequestHead<'_>) -> Context {
        let baggage = || head.headers.get_all(baggage::HEADER).iter();
        baggage::bind(ctx, || baggage().filter_map(|it| it.to_str().ok()))
    }

    fn close(&self, span: &Span, outcome: &Outcome<'_>) {
        conclude(outcome.ctx, span, |exported| describe_end(exported, outcome));
        self.lines.close(span, outcome);
        if let Some(instruments) = instruments() {
            instruments.request_ended(outcome);
        }
    }
}

fn begin_request(head: &RequestHead<'_>) -> (Span, Option<TraceContext>) {
    // No more than lines show: a field costs each request, and most spans are not exported.
    let span = info_span!("http.request", request_id = head.id.as_str(), otel.kind = "server");
    if let Some(parent) = head.trace {
        set_remote_parent(&span, span_context(parent));
    }
    let place = begin(&span, |exported| describe(exported, head));
    (span, place)
}

/// What is known of a request at its head.
fn describe(span: &SpanRef<'_>, head: &RequestHead<'_>) {
    let known = known_method(head.method);
    span.update_name(known.unwrap_or(UNKNOWN));
    span.set_attribute(KeyValue::new("http.request.method", known.unwrap_or("_OTHER")));
    if known.is_none() {
        let method = head.method.as_str().to_owned();
        span.set_attribute(KeyValue::new("http.request.method_original", method));
    }
    span.set_attribute(KeyValue::new("url.scheme", head.scheme));
    span.set_attribute(KeyValue::new("url.path", head.uri.path().to_owned()));
    let version = protocol_version(head.version);
    span.set_attribute(KeyValue::new("network.protocol.version", version));
}

/// What came of it.
fn describe_end(span: &SpanRef<'_>, outcome: &Outcome<'_>) {
    if has_status(outcome) {
        let status = i64::from(outcome.status.as_u16());
        span.set_attribute(KeyValue::new("http.response.status_code", status));
    }
    if let Some(route) = outcome.route {
        span.set_attribute(KeyValue::new("http.route", route.to_owned()));
        span.update_name(format!("{} {route}", known_method(outcome.method).unwrap_or(UNKNOWN)));
    }
    if let Some(error) = error_type(outcome) {
        span.set_attribute(KeyValue::new("error.type", error));
        if outcome.status.is_server_error() {
            span.set_status(Status::error(""));
        }
    }
}

/// What a span of an unknown method is named after.
const UNKNOWN: &str = "HTTP";

/// Whether a status was sent. A client that went away got none, or not all of its answer.
pub(super) fn has_status(outcome: &Outcome<'_>) -> bool {
    !matches!(outcome.ending, Ending::ClientGone | Ending::ClientStuck)
}

/// What went wrong, in one of few words: why the server answered in place of the handler, or the
/// handler's status.
pub(super) fn error_type(outcome: &Outcome<'_>) -> Option<Cow<'static, str>> {
    let word = match outcome.ending {
        Ending::ClientGone => return Some("client_gone".into()),
        Ending::ClientStuck => return Some("client_stuck".into()),
        _ if !outcome.status.is_server_error() && outcome.ending == Ending::Answered => {
            return None;
        }
        Ending::Cancelled => "cancelled",
        Ending::Deadline => "deadline",
        Ending::Failed => "failed",
        Ending::Panicked => "panicked",
        Ending::Refused => "refused",
        _ if outcome.status.is_server_error() => {
            return Some(outcome.status.as_str().to_owned().into());
        }
        _ => return None,
    };
    Some(word.into())
}

/// The version as the conventions write it.
pub(super) fn protocol_version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}
