//! [`Idempotency`]: which requests have keys, and what becomes of one that has.

use std::fmt;
use std::sync::Arc;

use axum_core::response::{IntoResponse, Response};
use bytes::Bytes;
use downhaul_context::{Context, RequestId};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use sha2::{Digest, Sha256};

use super::claimed::Claimed;
use super::{Claim, IdempotencyKey, IdempotencyStore, Ticket};
use crate::error::{BoxError, COME_BACK, Error};
use crate::lifetime::body::BodyError;
use crate::route::mount::original_uri;

type Scope = dyn Fn(&Context, &Parts) -> String + Send + Sync;

/// Answers requests that come again with what was answered first; see the
/// [module](crate::idempotency).
///
/// [`Router::idempotency`](crate::Router::idempotency) adds it to a router of ours, and it is a
/// tower layer for others. It belongs inside of whatever finds out who is asking.
///
/// The body of a request that has a key is read before its handler runs, and an answer is held
/// until it is whole: it is not for streams.
///
/// # Examples
///
/// ```
/// use downhaul_context::Context;
/// use downhaul_http::idempotency::{Idempotency, MemoryStore};
/// use downhaul_http::{OnDisconnect, Request, RouteLimits, Router};
/// use http::StatusCode;
///
/// async fn pay(_ctx: Context, _req: Request) -> StatusCode {
///     StatusCode::CREATED
/// }
///
/// let payments = Router::new()
///     .post("/payments", pay)
///     // Whoever leaves finds the answer when it comes back.
///     .limits(RouteLimits::new().on_disconnect(OnDisconnect::Finish))
///     .idempotency(Idempotency::new(MemoryStore::new()).required());
/// # let _: Router = payments;
/// ```
#[derive(Clone)]
#[must_use = "give it to a router"]
pub struct Idempotency {
    store: Arc<dyn IdempotencyStore>,
    methods: Arc<[Method]>,
    is_required: bool,
    request_bytes: usize,
    answer_bytes: usize,
    scope: Arc<Scope>,
}

/// How a request with a key goes on.
pub(super) enum Entry {
    /// The handler runs, with what was read of the body.
    Run(Claimed, Bytes),
    Answer(Response),
}

impl Idempotency {
    /// Remembers keys in `store`.
    pub fn new(store: impl IdempotencyStore) -> Self {
        Self {
            store: Arc::new(store),
            methods: Arc::new([Method::POST, Method::PATCH]),
            is_required: false,
            request_bytes: 1 << 20,
            answer_bytes: 256 << 10,
            scope: Arc::new(by_authorization),
        }
    }

    /// Answers 400 to requests without a key. By default they are carried out as they come.
    pub fn required(mut self) -> Self {
        self.is_required = true;
        self
    }

    /// Which methods have keys; other methods are idempotent by themselves. Default: POST and
    /// PATCH.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = methods.into_iter().collect();
        self
    }

    /// Whose keys they are: of two scopes, each has its own. Default: the value of `Authorization`.
    ///
    /// Nobody must read what was answered to somebody else, who chose the same key. Where callers
    /// are told apart by something else, such as a cookie or a value that middleware binds, say so.
    pub fn scope<F>(mut self, of: F) -> Self
    where
        F: Fn(&Context, &Parts) -> String + Send + Sync + 'static,
    {
        self.scope = Arc::new(of);
        self
    }

    /// The largest body of a request with a key, in bytes, within what the server takes; beyond it
    /// the client reads 413. Default: 1 MiB.
    pub fn max_request(mut self, bytes: usize) -> Self {
        self.request_bytes = bytes;
        self
    }

    /// The largest body of an answer that is kept, in bytes. Default: 256 KiB. A larger one goes to
    /// its client alone, and the request that comes again reads 409: it is not carried out again.
    pub fn max_answer(mut self, bytes: usize) -> Self {
        self.answer_bytes = bytes;
        self
    }

    /// The key of a request, where it has one that counts.
    pub(super) fn key(
        &self,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Option<IdempotencyKey>, Error> {
        if !self.methods.contains(method) {
            return Ok(None);
        }
        let key = IdempotencyKey::read(headers)?;
        if key.is_none() && self.is_required {
            let message = "`Idempotency-Key` is missing; send one of your own for each request";
            return Err(Error::bad_request(message));
        }
        Ok(key)
    }

    pub(super) async fn enter<B>(
        &self,
        ctx: &Context,
        parts: &Parts,
        key: &IdempotencyKey,
        body: B,
    ) -> Entry
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let body = match read(body, self.request_bytes).await {
            Ok(body) => body,
            Err(error) => return Entry::Answer(error.into_response()),
        };
        let ticket = self.ticket(ctx, parts, key, &body);
        let answer = match self.store.claim(ctx, &ticket).await {
            Ok(Claim::Granted) => {
                let store = Arc::clone(&self.store);
                return Entry::Run(Claimed::new(store, ticket, self.answer_bytes), body);
            }
            Ok(Claim::Answered(answer)) => answer.replay(),
            Ok(Claim::InFlight) => in_flight().into_response(),
            Ok(Claim::OtherRequest) => other_request().into_response(),
            Err(error) => unknown(error).into_response(),
        };
        Entry::Answer(answer)
    }

    fn ticket(&self, ctx: &Context, parts: &Parts, key: &IdempotencyKey, body: &[u8]) -> Ticket {
        let scope = (self.scope)(ctx, parts);
        let target = original_uri(&parts.extensions, &parts.uri).path_and_query();
        let target = target.map_or("", |target| target.as_str());
        let fingerprint = digest([parts.method.as_str().as_bytes(), target.as_bytes(), body]);
        let key = digest([scope.as_bytes(), key.as_str().as_bytes()]);
        Ticket::new(key, fingerprint, RequestId::generate().as_str().to_owned())
    }
}

async fn read<B>(body: B, most: usize) -> Result<Bytes, Error>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    match Limited::new(body, most).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Error::too_large()),
        Err(error) => Err(BodyError::broken(error).into()),
    }
}

/// One hash of all pieces, whose borders count.
fn digest<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for piece in pieces {
        hash.update((piece.len() as u64).to_be_bytes());
        hash.update(piece);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn by_authorization(_ctx: &Context, parts: &Parts) -> String {
    let credentials = parts.headers.get(header::AUTHORIZATION);
    credentials.map(|value| String::from_utf8_lossy(value.as_bytes()).into()).unwrap_or_default()
}

fn in_flight() -> Error {
    Error::conflict("the first request with this `Idempotency-Key` is worked on; try again")
        .retry_after(COME_BACK)
}

fn other_request() -> Error {
    let message = "this `Idempotency-Key` was used for another request; send a new one";
    Error::new(StatusCode::UNPROCESSABLE_ENTITY, message)
}

fn unknown(error: BoxError) -> Error {
    Error::unavailable("it cannot be found out whether this request has come before; try again")
        .retry_after(COME_BACK)
        .with_source(error)
}

impl fmt::Debug for Idempotency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idempotency")
            .field("methods", &self.methods)
            .field("is_required", &self.is_required)
            .finish_non_exhaustive()
    }
}
