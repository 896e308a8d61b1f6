//! [`Error`]: what a handler answers instead of a result. [`BindError`]: no address to listen on.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum_core::body::Body as AnyBody;
use axum_core::response::{IntoResponse, Response};
use bytes::Bytes;
use downhaul_context::{Cause, CauseKind, RequestId};
use http::{HeaderValue, StatusCode, header};
use tracing::{debug, error};

/// Any error, as services return it.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// An answer that says what went wrong: a status, a message for the client, and a source that only
/// the log sees.
///
/// It is answered as `{"error":"not found","message":"…","request_id":"…"}`. The source is logged
/// at ERROR where the status is 5xx, at DEBUG otherwise, and never sent.
///
/// # Examples
///
/// ```
/// use downhaul_http::Error;
/// use http::StatusCode;
///
/// let error = Error::not_found("no order 17; list orders with GET /orders");
/// assert_eq!(error.status(), StatusCode::NOT_FOUND);
/// assert_eq!(error.to_string(), "no order 17; list orders with GET /orders");
/// ```
pub struct Error {
    status: StatusCode,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
    source: Option<BoxError>,
}

impl Error {
    /// Answers with `status`; `message` tells the client what to do about it.
    pub fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into(), retry_after: None, source: None }
    }

    /// 400: the client must change the request.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404: there is no such thing.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 409: it does not fit the state in which the thing is.
    pub fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// 503: not now; see [`retry_after`](Self::retry_after).
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// 504: what the handler waited for took too long.
    pub fn timeout() -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "the request took too long; try again later")
    }

    pub(crate) fn crowded() -> Self {
        Self::unavailable("this connection has too many requests; wait for some to end")
    }

    pub(crate) fn no_time() -> Self {
        let message = "the client left no time for the request; give it more";
        Self::new(StatusCode::GATEWAY_TIMEOUT, message)
    }

    /// 500: `source` is for the log; the client learns only the request id to ask about.
    pub fn internal(source: impl Into<BoxError>) -> Self {
        let message = "the server failed; tell its operators the request id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message).with_source(source)
    }

    /// Adds what is behind the error, for the log.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Tells the client when to try again, in whole seconds, rounded up.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The status it is answered with.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    fn log(&self) {
        let Some(source) = &self.source else { return };
        let (status, source) = (self.status.as_u16(), Chain(source.as_ref()));
        if self.status.is_server_error() {
            error!(status, error = %source, "handler failed: {}", self.message);
        } else {
            debug!(status, error = %source, "request refused: {}", self.message);
        }
    }
}

/// A deadline becomes 504, anything else, such as a drain, 503.
impl From<Cause> for Error {
    fn from(cause: Cause) -> Self {
        let error = match cause.kind() {
            CauseKind::Deadline => Self::timeout(),
            _ => Self::unavailable("the server ended this request; try again"),
        };
        error.with_source(cause)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.log();
        let problem = Problem { status: self.status, message: self.message };
        let mut response = Response::new(AnyBody::from(problem.render(None)));
        *response.status_mut() = problem.status;
        response.headers_mut().insert(header::CONTENT_TYPE, JSON);
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(Arc::new(problem));
        response
    }
}

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What the client reads. Travels with the response, so that the server can add the request id.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    message: Cow<'static, str>,
}

impl Problem {
    pub(crate) fn render(&self, id: Option<&RequestId>) -> Bytes {
        let words = self.status.canonical_reason().unwrap_or("error").to_lowercase();
        let mut json = serde_json::json!({ "error": words, "message": self.message });
        if let Some(id) = id {
            json["request_id"] = id.as_str().into();
        }
        Bytes::from(json.to_string())
    }
}

/// An error and its sources on one line.
struct Chain<'a>(&'a (dyn StdError + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            write!(f, ": {error}")?;
            next = error.source();
        }
        Ok(())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("status", &self.status)
            .field("message", &self.message)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// The server cannot listen on an address.
#[derive(Debug)]
pub struct BindError {
    address: String,
    source: io::Error,
}

impl BindError {
    pub(crate) fn new(address: String, source: io::Error) -> Self {
        Self { address, source }
    }

    /// What the operating system said.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: ", self.address)?;
        match self.kind() {
            io::ErrorKind::AddrInUse => f.write_str("the port is in use by another process"),
            io::ErrorKind::AddrNotAvailable => f.write_str("this machine has no such address"),
            io::ErrorKind::PermissionDenied => f.write_str("permission denied"),
            io::ErrorKind::InvalidInput => f.write_str("not an address of the form host:port"),
            _ => write!(f, "{}", self.source),
        }
    }
}

impl StdError for BindError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.source)
    }
}
