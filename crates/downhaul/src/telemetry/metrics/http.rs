//! What is measured of requests.

use std::borrow::Cow;
use std::sync::LazyLock;

use downhaul_http::observe::{Outcome, RequestHead};
use http::Method;
use opentelemetry::KeyValue;

use super::Instruments;
use crate::telemetry::http::{error_type, has_status, protocol_version};

/// The methods that are told apart: those of the RFCs, or those that
/// `OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS` names, as the conventions have it.
static KNOWN: LazyLock<Vec<Cow<'static, str>>> = LazyLock::new(|| {
    let named = std::env::var("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS").unwrap_or_default();
    let named = named.split(',').map(str::trim).filter(|name| !name.is_empty());
    let named: Vec<_> = named.map(|name| Cow::Owned(name.to_owned())).collect();
    if !named.is_empty() {
        return named;
    }
    let known =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];
    known.map(Cow::Borrowed).to_vec()
});

/// The method, if it is one of those that are known. A client can make up any.
pub(in crate::telemetry) fn known_method(method: &Method) -> Option<&'static str> {
    let method = method.as_str();
    KNOWN.iter().map(|known| &**known).find(|known| *known == method)
}

fn method(method: &Method) -> KeyValue {
    KeyValue::new("http.request.method", known_method(method).unwrap_or("_OTHER"))
}

impl Instruments {
    pub(in crate::telemetry) fn request_began(&self, head: &RequestHead<'_>) {
        let scheme = KeyValue::new("url.scheme", head.scheme);
        self.active_requests.add(1, &[method(head.method), scheme]);
    }

    pub(in crate::telemetry) fn request_ended(&self, outcome: &Outcome<'_>) {
        let scheme = KeyValue::new("url.scheme", outcome.scheme);
        let mut attributes = vec![method(outcome.method), scheme];
        self.active_requests.add(-1, &attributes);
        let version = protocol_version(outcome.version);
        attributes.push(KeyValue::new("network.protocol.version", version));
        if let Some(route) = outcome.route {
            attributes.push(KeyValue::new("http.route", route.to_owned()));
        }
        if has_status(outcome) {
            let status = i64::from(outcome.status.as_u16());
            attributes.push(KeyValue::new("http.response.status_code", status));
        }
        if let Some(error) = error_type(outcome) {
            attributes.push(KeyValue::new("error.type", error.into_owned()));
        }
        self.request_duration.record(outcome.took.as_secs_f64(), &attributes);
    }
}
