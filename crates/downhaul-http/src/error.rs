//! [`Error`]: what a handler answers instead of a result. [`BindError`]: no address to listen on.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use axum_core::response::{IntoResponse, Response};
pub use downhaul_context::scope::BoxError;
use downhaul_context::traced::one_line;
use downhaul_context::{Cause, CauseKind, Class, Kind, Traced, TracedError};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;
use tracing::{debug, error, warn};

pub(crate) use crate::problem::Problem;

/// What a client reads of a deadline.
const TOO_LONG: &str = "the request took too long; try again later";
/// What a client reads of a failure that is none of its business.
const FAILED: &str = "the server failed; tell its operators the request id";

/// How long a client waits that may come again soon.
pub(crate) const COME_BACK: Duration = Duration::from_secs(1);

/// An answer that says what went wrong: a status, a message for the client, and a source that only
/// the log sees.
///
/// It is answered as `application/problem+json` (RFC 9457), with the request id as a member of its
/// own:
///
/// ```json
/// {"type":"about:blank","title":"Not Found","status":404,"detail":"…","request_id":"…"}
/// ```
///
/// The source is logged at ERROR where the status is 5xx, but at WARN where that is the end of the
/// request's context, and at DEBUG otherwise and where the client has left. It is never sent.
///
/// A [`Traced`] error becomes one by `?`, with the status that its kind says.
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
    problem: Problem,
    // In a box: most have none, and an error is returned by value.
    headers: Option<Box<HeaderMap>>,
    source: Option<BoxError>,
}

impl Error {
    /// Answers with `status`; `message` tells the client what to do about it.
    pub fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { problem: Problem::new(status, message.into()), headers: None, source: None }
    }

    /// 400: the client must change the request.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 401: the client must say who it is. `challenge` tells it how, such as `Bearer`, and is sent
    /// as `WWW-Authenticate`, without which a 401 is none (RFC 9110 §15.5.2).
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul_http::{Error, HeaderValue};
    ///
    /// let challenge = HeaderValue::from_static(r#"Bearer realm="orders""#);
    /// let error = Error::unauthorized(challenge, "the token has expired; log in again");
    /// # let _ = error;
    /// ```
    pub fn unauthorized(challenge: HeaderValue, message: impl Into<Cow<'static, str>>) -> Self {
        let error = Self::new(StatusCode::UNAUTHORIZED, message);
        error.with_header(header::WWW_AUTHENTICATE, challenge)
    }

    /// 403: who asks may not do this.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
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
        Self::new(StatusCode::GATEWAY_TIMEOUT, TOO_LONG)
    }

    pub(crate) fn crowded() -> Self {
        Self::unavailable("this connection has too many requests; wait for some to end")
    }

    pub(crate) fn no_time() -> Self {
        let message = "no time was left for the request; give it more";
        Self::new(StatusCode::GATEWAY_TIMEOUT, message)
    }

    pub(crate) fn panicked() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, FAILED)
    }

    /// 500: `source` is for the log; the client learns only the request id to ask about.
    pub fn internal(source: impl Into<BoxError>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, FAILED).with_source(source)
    }

    /// Adds what is behind the error, for the log.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says which problem it is, for clients that tell one from another: `type`, a URI that stays
    /// the same, best that of a page about it, and `title`, its name in words. Without, the type
    /// is `about:blank` and the title is the status's.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul_http::Error;
    ///
    /// let error = Error::conflict("the account has 30 and the order costs 50")
    ///     .with_type("https://shop.example/problems/no-credit", "Not enough credit")
    ///     .with("balance", 30);
    /// # let _ = error;
    /// ```
    #[must_use]
    pub fn with_type(
        mut self,
        uri: impl Into<Cow<'static, str>>,
        title: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.problem.set_kind(uri.into(), title.into());
        self
    }

    /// Adds a member to what the client reads; a later one of the same name replaces it.
    ///
    /// `type`, `title`, `status`, `detail` and `request_id` are not to be had like this: a member
    /// with such a name is left out.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.problem.set_member(name.into(), value.into());
        self
    }

    /// Tells the client when to try again, in whole seconds, rounded up.
    #[must_use]
    pub fn retry_after(self, after: Duration) -> Self {
        let seconds = after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0));
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Sets a header of the answer, in place of any of its name.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.get_or_insert_default().insert(name, value);
        self
    }

    /// The status it is answered with.
    pub fn status(&self) -> StatusCode {
        self.problem.status
    }

    fn log(&self) {
        let Some(source) = &self.source else { return };
        match TracedError::find(source.as_ref()) {
            Some(traced) => traced.log_once(|| self.log_line(source, Some(traced.error_type()))),
            None => self.log_line(source, None),
        }
    }

    fn log_line(&self, source: &BoxError, error_type: Option<&str>) {
        let end = end_of(source.as_ref());
        let (status, source) = (self.status().as_u16(), one_line(source.as_ref()));
        if end == Some(CauseKind::ClientGone) {
            // Nobody reads the answer, and nothing has failed.
            debug!(status, error.type = error_type, error = %source, "handler was cut short");
        } else if end.is_some() && [503, 504].contains(&status) {
            // A client may have chosen when.
            let words = "handler was cut short";
            warn!(status, error.type = error_type, error = %source, "{words}: {self}");
        } else if self.status().is_server_error() {
            error!(status, error.type = error_type, error = %source, "handler failed: {self}");
        } else {
            debug!(status, error.type = error_type, error = %source, "request refused: {self}");
        }
    }
}

/// How the context of the work ended, where that is what the error is about.
fn end_of(source: &(dyn StdError + 'static)) -> Option<CauseKind> {
    let traced = TracedError::find(source).and_then(TracedError::cause);
    traced.or_else(|| Cause::find(source)).map(Cause::kind)
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

/// The class of its kind is the status, what its kind makes [public](Kind::public) is the message,
/// and the whole of it is the source: logged in one line, unless it was logged before.
impl<E: Kind> From<Traced<E>> for Error {
    fn from(traced: Traced<E>) -> Self {
        TracedError::from(traced).into()
    }
}

/// As of a [`Traced`] error.
impl From<TracedError> for Error {
    fn from(traced: TracedError) -> Self {
        let (status, words) = told(traced.class());
        let message = traced.public().map_or(Cow::Borrowed(words), |text| text.to_owned().into());
        Self::new(status, message).with_source(traced)
    }
}

/// The status of a class, and words for a client where its kind has none.
fn told(class: Class) -> (StatusCode, &'static str) {
    match class {
        Class::Invalid => (StatusCode::BAD_REQUEST, "this cannot be done; change the request"),
        Class::Unauthenticated => (StatusCode::UNAUTHORIZED, "say who asks"),
        Class::Forbidden => (StatusCode::FORBIDDEN, "who asks may not do this"),
        Class::NotFound => (StatusCode::NOT_FOUND, "there is no such thing"),
        Class::Conflict => (StatusCode::CONFLICT, "this does not fit how things stand now"),
        Class::Unavailable => {
            (StatusCode::SERVICE_UNAVAILABLE, "this is not possible now; try again")
        }
        Class::Timeout => (StatusCode::GATEWAY_TIMEOUT, TOO_LONG),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, FAILED),
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.log();
        let mut response = self.problem.into_response();
        if let Some(headers) = self.headers {
            response.headers_mut().extend(*headers);
        }
        response
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.detail)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("problem", &self.problem)
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
            io::ErrorKind::AddrInUse => f.write_str("it is in use by another process"),
            io::ErrorKind::AddrNotAvailable => f.write_str("this machine has no such address"),
            io::ErrorKind::PermissionDenied => f.write_str("permission denied"),
            io::ErrorKind::InvalidInput => f.write_str("not an address of the form host:port"),
            io::ErrorKind::Unsupported => f.write_str("this system has no Unix sockets"),
            _ => write!(f, "{}", self.source),
        }
    }
}

impl StdError for BindError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.source)
    }
}
