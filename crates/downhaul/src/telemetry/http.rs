//! [`HttpSpans`]: the span and the access line of each request.

use downhaul_context::Context;
use downhaul_http::observe::{Outcome, RequestHead};
use downhaul_http::{AccessLog, RequestObserver};
use tracing::{Span, field, info_span};

use super::trace::{at_span, rename, set_remote_parent};

/// Makes a server span of each request by OpenTelemetry's conventions, a child of the caller's if
/// one was sent.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs, reason = "a name for behaviour, with nothing to add")]
pub struct HttpSpans;

impl RequestObserver for HttpSpans {
    fn open(&self, ctx: Context, head: &RequestHead<'_>) -> (Context, Span) {
        let span = info_span!(
            "http.request",
            request_id = %head.id,
            otel.name = %head.method,
            otel.kind = "server",
            otel.status_code = field::Empty,
            http.request.method = %head.method,
            url.path = head.uri.path(),
            http.route = field::Empty,
            http.response.status_code = field::Empty,
            error.type = field::Empty,
        );
        set_remote_parent(&span, &ctx);
        let ctx = at_span(ctx, &span);
        (ctx, span)
    }

    fn close(&self, span: &Span, outcome: &Outcome<'_>) {
        let status = outcome.status.as_u16();
        span.record("http.response.status_code", status);
        if let Some(route) = outcome.route {
            span.record("http.route", route);
            rename(span, format!("{} {route}", outcome.method));
        }
        if outcome.status.is_server_error() {
            span.record("otel.status_code", "ERROR");
            span.record("error.type", status.to_string());
        }
        AccessLog::default().close(span, outcome);
    }
}
