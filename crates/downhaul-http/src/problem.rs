//! [`Problem`]: what a client reads of an error.

use std::borrow::Cow;
use std::sync::Arc;

use axum_core::body::Body;
use axum_core::response::{IntoResponse, Response};
use bytes::Bytes;
use downhaul_context::RequestId;
use http::{HeaderValue, StatusCode, header};
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
        Self { status, detail, kind: None, members: None }
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
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.render(None)));
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM_JSON);
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}
