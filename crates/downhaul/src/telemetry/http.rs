//! [`HttpSpans`]: the span, the access line and the metrics of each request.

use std::borrow::Cow;

use downhaul_context::Context;
use downhaul_http::observe::{Ending, Outcome, RequestHead};
use downhaul_http::{AccessLog, RequestObserver};
use http::Version;
use tracing::{Span, field, info_span};

use super::baggage;
use super::metrics::{instruments, known_method};
use super::trace::{at, is_kept, position, rename, set_remote_parent};

/// Makes a server span of each request by OpenTelemetry's conventions, a child of the caller's if
/// one was sent; and its metrics, if anybody wants them.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs, reason = "a name for behaviour, with nothing to add")]
pub struct HttpSpans;

impl RequestObserver for HttpSpans {
    fn open(&self, ctx: Context, head: &RequestHead<'_>) -> (Context, Span) {
        if let Some(instruments) = instruments() {
            instruments.request_began(head);
        }
        // No more than lines show: most spans are not kept.
        let span = info_span!(
            "http.request",
            request_id = head.id.as_str(),
            otel.kind = "server",
            otel.status_code = field::Empty,
            http.request.method = field::Empty,
            http.request.method_original = field::Empty,
            url.scheme = field::Empty,
            url.path = field::Empty,
            network.protocol.version = field::Empty,
            http.route = field::Empty,
            http.response.status_code = field::Empty,
            error.type = field::Empty,
        );
        set_remote_parent(&span, &ctx);
        let position = position(&span);
        if is_kept(position.as_ref()) {
            describe(&span, head);
        }
        let headers = head.headers.get_all(baggage::HEADER).iter();
        let headers = headers.filter_map(|it| it.to_str().ok());
        (baggage::bind(at(ctx, position.as_ref()), headers), span)
    }

    fn close(&self, span: &Span, outcome: &Outcome<'_>) {
        if is_kept(position(span).as_ref()) {
            conclude(span, outcome);
        }
        AccessLog::default().close(span, outcome);
        if let Some(instruments) = instruments() {
            instruments.request_ended(outcome);
        }
    }
}

/// What is known of a request at its head.
fn describe(span: &Span, head: &RequestHead<'_>) {
    let known = known_method(head.method);
    rename(span, known.unwrap_or(UNKNOWN));
    span.record("http.request.method", known.unwrap_or("_OTHER"));
    if known.is_none() {
        span.record("http.request.method_original", head.method.as_str());
    }
    span.record("url.scheme", head.scheme);
    span.record("url.path", head.uri.path());
    span.record("network.protocol.version", protocol_version(head.version));
}

/// What came of it.
fn conclude(span: &Span, outcome: &Outcome<'_>) {
    if has_status(outcome) {
        // A number only where it is signed: the layer takes others for text.
        span.record("http.response.status_code", i64::from(outcome.status.as_u16()));
    }
    if let Some(route) = outcome.route {
        span.record("http.route", route);
        rename(span, format!("{} {route}", known_method(outcome.method).unwrap_or(UNKNOWN)));
    }
    if let Some(error) = error_type(outcome) {
        span.record("error.type", &*error);
        if outcome.status.is_server_error() {
            span.record("otel.status_code", "ERROR");
        }
    }
}

/// What a span of an unknown method is named after.
const UNKNOWN: &str = "HTTP";

/// Whether a status was sent. A client that went away got none, or not all of its answer.
pub(super) fn has_status(outcome: &Outcome<'_>) -> bool {
    outcome.ending != Ending::ClientGone
}

/// What went wrong, in one of few words: why the server answered in place of the handler, or the
/// handler's status.
pub(super) fn error_type(outcome: &Outcome<'_>) -> Option<Cow<'static, str>> {
    let word = match outcome.ending {
        Ending::ClientGone => return Some("client_gone".into()),
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
