//! What a server tells about its requests: one span and one access line each.

use std::fmt;
use std::time::Duration;

use downhaul_context::{Context, RequestId, TraceContext, ambient};
use http::{HeaderMap, Method, StatusCode, Uri, Version};
use tracing::{Level, Span, enabled, info, info_span};

use crate::listen::address::Address;

/// Opens and closes the span of every request.
///
/// All of it runs on the connection's task: it must not block, and it should not panic.
pub trait RequestObserver: Send + Sync + 'static {
    /// Makes the span in which the handler runs, and says where that is in its trace: `None` is
    /// where the client was, if it [told](RequestHead::trace).
    ///
    /// The default makes a span `http.request` with the request id, the method and the path.
    fn open(&self, head: &RequestHead<'_>) -> (Span, Option<TraceContext>) {
        let span = info_span!(
            "http.request",
            request_id = %head.id,
            http.method = %head.method,
            http.path = head.uri.path(),
        );
        (span, None)
    }

    /// May bind values to the request's context, which has its id and its place in its trace.
    ///
    /// Return the context that was given, or one derived from it by
    /// [`with_value`](Context::with_value): it must be the same lifetime.
    fn bind(&self, ctx: Context, head: &RequestHead<'_>) -> Context {
        let _ = head;
        ctx
    }

    /// Called once for each request, when the last byte of its answer was handed over or the
    /// client went away. Under [`OnDisconnect::Finish`](crate::OnDisconnect) the handler may still
    /// run.
    fn close(&self, span: &Span, outcome: &Outcome<'_>);
}

/// The head of a request, before anything was decided about it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestHead<'a> {
    /// The id that answers, logs and messages carry.
    pub id: &'a RequestId,
    /// Where the client was in its trace, if it told.
    pub trace: Option<&'a TraceContext>,
    /// The method as it was sent.
    pub method: &'a Method,
    /// The target as it was sent.
    pub uri: &'a Uri,
    /// The version of the protocol.
    pub version: Version,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The other end of the connection.
    pub peer: &'a Address,
    /// `https` where the connection is encrypted here, else `http`, whatever the target says.
    pub scheme: &'static str,
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Outcome<'a> {
    /// The request's context, with what [`bind`](RequestObserver::bind) bound.
    pub ctx: &'a Context,
    /// The method as it was sent.
    pub method: &'a Method,
    /// The path without the query, which may hold secrets.
    pub path: &'a str,
    /// The version of the protocol.
    pub version: Version,
    /// `https` where the connection is encrypted here, else `http`.
    pub scheme: &'static str,
    /// The other end of the connection; behind a proxy it is the proxy.
    pub peer: &'a Address,
    /// The template that matched, such as `/orders/{id}`, where a [`Router`](crate::Router) knew.
    pub route: Option<&'a str>,
    /// The status that was sent, or 499 where the client went away first.
    pub status: StatusCode,
    /// How much of the answer's body was handed over to be sent, in bytes.
    pub sent: u64,
    /// The time from the head of the request to the answer, or to the end where there was none.
    pub handled: Duration,
    /// The time from the head of the request to the end of the answer.
    pub took: Duration,
    /// Why it ended as it did.
    pub ending: Ending,
}

/// Why a request ended as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// The handler answered and the client got it all.
    Answered,
    /// The body was larger than the limit: 413.
    BodyTooLarge,
    /// The context ended for another reason than its deadline, as in a drain: 503.
    Cancelled,
    /// The client went away before the end of the answer: 499, in logs only.
    ClientGone,
    /// The client took nothing of the answer for the
    /// [`write_timeout`](crate::Server::write_timeout), and was cut off: 499, in logs only.
    ClientStuck,
    /// The deadline passed while the handler worked: 504.
    Deadline,
    /// The service failed with an error of its own, which is no response: 500.
    Failed,
    /// The body did not arrive in time: 408.
    LateBody,
    /// The head was one that the RFCs forbid: 400, 417 or 501.
    Malformed,
    /// The handler panicked: 500.
    Panicked,
    /// Its connection had too many requests already: 503.
    Refused,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answered => "answered",
            Self::BodyTooLarge => "body too large",
            Self::Cancelled => "cancelled",
            Self::ClientGone => "client gone",
            Self::ClientStuck => "client stuck",
            Self::Deadline => "deadline",
            Self::Failed => "failed",
            Self::LateBody => "late body",
            Self::Malformed => "malformed",
            Self::Panicked => "panicked",
            Self::Refused => "refused",
        })
    }
}

/// The default observer: a span `http.request` and one line at INFO in it.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct AccessLog;

impl AccessLog {
    /// The target of its lines, for filters such as `RUST_LOG=info,downhaul_http::access=off`.
    pub const TARGET: &str = "downhaul_http::access";
}

impl RequestObserver for AccessLog {
    fn close(&self, span: &Span, outcome: &Outcome<'_>) {
        if !enabled!(target: AccessLog::TARGET, Level::INFO) {
            return;
        }
        let _inside = ambient::enter(outcome.ctx);
        info!(
            target: AccessLog::TARGET,
            parent: span,
            method = %outcome.method,
            path = outcome.path,
            route = outcome.route,
            status = outcome.status.as_u16(),
            handled_ms = millis(outcome.handled),
            took_ms = millis(outcome.took),
            outcome = %outcome.ending,
            "request ended"
        );
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
