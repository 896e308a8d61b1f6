//! [`StoredAnswer`]: an answer that can be told again.

use std::sync::Arc;

use axum_core::body::Body as AnyBody;
use axum_core::response::{IntoResponse, Response};
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::error::{Error, Problem};
use crate::lifetime::exchange::X_REQUEST_ID;

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// What belongs to one answer on one connection, and not to what it says.
const PASSING: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::DATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    X_REQUEST_ID,
];

/// An answer as a [store](super::IdempotencyStore) keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl StoredAnswer {
    /// An answer out of its parts, for stores that read it from somewhere.
    pub fn new(status: StatusCode, headers: HeaderMap, body: Bytes) -> Self {
        Self { status, headers, body }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers, without those that belong to a connection or a single answer.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The whole body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    pub(super) fn of(parts: &Parts, body: Bytes) -> Self {
        let mut headers = parts.headers.clone();
        PASSING.iter().for_each(|name| drop(headers.remove(name)));
        Self { status: parts.status, headers, body }
    }

    /// Stands for one that cannot be kept: to carry the request out again would be worse.
    pub(super) fn unkept() -> Self {
        let message = "the request was carried out, and its answer is too large to be told again";
        let (parts, _) = Error::conflict(message).into_response().into_parts();
        let problem = parts.extensions.get::<Arc<Problem>>();
        Self::of(&parts, problem.map(|problem| problem.render(None)).unwrap_or_default())
    }

    pub(super) fn replay(self) -> Response {
        let mut response = Response::new(AnyBody::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }
}
