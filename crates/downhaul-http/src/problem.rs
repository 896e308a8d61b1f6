//! [`Problem`]: what a client reads of an error.

use std::borrow::Cow;
use std::sync::Arc;

use axum_core::body::Body;
use axum_core::response::{IntoResponse, Response};
use bytes::Bytes;
use downhaul_context::RequestId;
use http::response::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::{Body as HttpBody, SizeHint};
use serde::Serialize;
use serde_json::{Map, Value};

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Members that are the crate's to write.
const RESERVED: [&str; 5] = ["type", "title", "status", "detail", "request_id"];

/// What the client reads, by RFC 9457. Travels with the response, so that the server can add the
/// request id.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) detail: Cow<'static, str>,
    // In a box: most have none of it, and an error is returned by value.
    kind: Option<Box<Kind>>,
    members: Option<Box<Map<String, Value>>>,
    /// How long its document is without the id of a request, once it was written.
    length: u64,
}

#[derive(Debug)]
struct Kind {
    uri: Cow<'static, str>,
    title: Cow<'static, str>,
}

/// As it is written. Absent members are left out.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    uri: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(flatten)]
    members: Option<&'a Map<String, Value>>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: Cow<'static, str>) -> Self {
        Self { status, detail, kind: None, members: None, length: 0 }
    }

    pub(crate) fn set_kind(&mut self, uri: Cow<'static, str>, title: Cow<'static, str>) {
        self.kind = Some(Box::new(Kind { uri, title }));
    }

    /// Adds a member, unless its name is reserved.
    pub(crate) fn set_member(&mut self, name: String, value: Value) {
        if !RESERVED.contains(&name.as_str()) {
            self.members.get_or_insert_default().insert(name, value);
        }
    }

    pub(crate) fn render(&self, id: Option<&RequestId>) -> Bytes {
        let status_words = self.status.canonical_reason().unwrap_or("Error");
        let kind = self.kind.as_deref();
        let document = Document {
            uri: kind.map_or("about:blank", |kind| &kind.uri),
            title: kind.map_or(status_words, |kind| &kind.title),
            status: self.status.as_u16(),
            detail: &self.detail,
            request_id: id.map(RequestId::as_str),
            members: self.members.as_deref(),
        };
        // Texts, a number and values that are JSON already: there is nothing that could fail.
        serde_json::to_vec(&document).unwrap_or_default().into()
    }

    /// Whether an answer is still the document that was written: not encoded, of the same type and
    /// as long as it was, or without a body of which only the length is told, as HEAD has it.
    fn is_untouched(&self, headers: &HeaderMap, size: &SizeHint) -> bool {
        let told = || headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse::<u64>().ok();
        let length = size.exact().filter(|length| *length > 0).or_else(told);
        !headers.contains_key(header::CONTENT_ENCODING)
            && headers.get(header::CONTENT_TYPE) == Some(&PROBLEM_JSON)
            && length == Some(self.length)
    }
}

/// The document of an answer that is a problem, with the id of its request, to be sent in place of
/// `body`. `None` where a layer has made something else of it, which is to stay.
pub(crate) fn named(parts: &mut Parts, body: &impl HttpBody, id: &RequestId) -> Option<Bytes> {
    let problem = parts.extensions.remove::<Arc<Problem>>()?;
    if !problem.is_untouched(&parts.headers, &body.size_hint()) {
        return None;
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Some(problem.render(Some(id)))
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let document = self.render(None);
        self.length = document.len() as u64;
        let mut response = Response::new(Body::from(document));
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM_JSON);
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}
