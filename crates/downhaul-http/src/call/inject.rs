//! [`inject`]: what those that are called next are told.

use std::time::Duration;

use downhaul_context::wire::{self, Names};
use downhaul_context::{Context, TraceContext};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Writes into the head of a call what the other side is to know of `ctx`: the request id, the time
/// that is left, the position in a trace, and the values that opted in.
///
/// `reserve` is taken off the time, so that the other side gives up while there is still time to
/// answer without it. A header of the same name is replaced.
///
/// # Examples
///
/// ```
/// use downhaul_context::{Context, RequestId};
/// use http::HeaderMap;
/// use std::time::Duration;
///
/// let ctx = Context::background().with_value(RequestId::generate());
/// let (ctx, _canceller) = ctx.with_timeout(Duration::from_secs(2));
/// let mut headers = HeaderMap::new();
/// downhaul_http::inject(&ctx, &mut headers, Duration::from_millis(100));
/// assert!(headers.contains_key("x-request-id"));
/// let left: u64 = headers["x-request-timeout-ms"].to_str().unwrap().parse().unwrap();
/// assert!(left <= 1_900);
/// ```
pub fn inject(ctx: &Context, headers: &mut HeaderMap, reserve: Duration) {
    for (name, text) in wire::inject(ctx, &Names::HTTP, reserve) {
        // A value that opted in and is not fit for a header stays here.
        if let (Ok(name), Ok(text)) = (name.parse::<HeaderName>(), HeaderValue::try_from(text)) {
            headers.insert(name, text);
        }
    }
    let Some(trace) = ctx.value::<TraceContext>() else { return };
    let state = trace.tracestate().map(str::to_owned);
    let pairs = [("traceparent", Some(trace.traceparent())), ("tracestate", state)];
    for (name, text) in pairs {
        match text.map(HeaderValue::try_from) {
            Some(Ok(text)) => drop(headers.insert(HeaderName::from_static(name), text)),
            // One that is there is that of another position.
            _ => drop(headers.remove(name)),
        }
    }
}
