//! [`Body`]: a request's body, bounded in size and in time.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context as TaskContext, Poll, Wake, Waker, ready};

use axum_core::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_core::Stream;
use http::StatusCode;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep};

use crate::error::{BoxError, Error};
use crate::lifetime::in_flight::{InFlight, Upload};
use crate::lifetime::tracked::Carried;

/// The body of a request, or of an answer.
///
/// Behind a [`Server`](crate::Server) it ends with an error when it grows beyond the limit or does
/// not go on in time. Whatever error the service then answers with, the client reads 413 or 408.
pub struct Body {
    kind: Kind,
    carried: Option<Carried>,
}

enum Kind {
    Full(Option<Bytes>),
    Inbound(Box<Inbound>),
    Other(UnsyncBoxBody<Bytes, BoxError>),
}

/// A body on its way in.
struct Inbound {
    incoming: Incoming,
    taken: usize,
    request: Arc<InFlight>,
    waker: Arc<ReadWaker>,
    /// Armed while the next piece is awaited.
    stall: Option<Pin<Box<Sleep>>>,
}

/// Wakes who reads a body. From then on it is the reader who is waited for, and not the client.
struct ReadWaker {
    /// Not held: hyper keeps what it wakes longer than the body.
    request: Weak<InFlight>,
    reader: Mutex<Waker>,
}

impl ReadWaker {
    fn new(request: &Arc<InFlight>) -> Arc<Self> {
        let (request, reader) = (Arc::downgrade(request), Mutex::new(Waker::noop().clone()));
        Arc::new(Self { request, reader })
    }

    /// Whom to wake in place of `reader`.
    fn before(self: &Arc<Self>, reader: &Waker) -> Waker {
        let reader = reader.clone();
        let before = mem::replace(&mut *self.reader(), reader);
        // Not under the lock, as its clone was not.
        drop(before);
        Waker::from(Arc::clone(self))
    }

    fn reader(&self) -> MutexGuard<'_, Waker> {
        // Nothing that can panic runs under the lock, so a poisoned one is still whole.
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for ReadWaker {
    fn wake(self: Arc<Self>) {
        if let Some(request) = self.request.upgrade() {
            request.stop_awaiting();
        }
        let reader = mem::replace(&mut *self.reader(), Waker::noop().clone());
        reader.wake();
    }
}

impl Body {
    /// A body without a byte.
    pub fn empty() -> Self {
        Self::of(Kind::Full(None))
    }

    /// Takes any other body.
    pub fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut body = Some(body);
        // A body that is ours already keeps its limits, and is not boxed again.
        if let Some(ours) = (&mut body as &mut dyn std::any::Any).downcast_mut::<Option<Self>>() {
            return ours.take().unwrap_or_default();
        }
        let other = body.map(|body| body.map_err(Into::into).boxed_unsync());
        other.map_or_else(Self::empty, |other| Self::of(Kind::Other(other)))
    }

    /// Makes an answer of pieces that come as they are made, such as those of a file. They end with
    /// the context of the request, and are asked for as fast as the client takes them.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul_context::Context;
    /// use downhaul_http::{Body, Request};
    /// use futures_util::stream;
    ///
    /// async fn numbers(_ctx: Context, _req: Request) -> Body {
    ///     let lines = (0..1_000_000).map(|n| Ok::<_, std::io::Error>(format!("{n}\n")));
    ///     Body::from_stream(stream::iter(lines))
    /// }
    /// ```
    pub fn from_stream<S, T, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<T, E>> + Send + 'static,
        T: Into<Bytes> + 'static,
        E: Into<BoxError> + 'static,
    {
        Self::new(axum_core::body::Body::from_stream(stream))
    }

    pub(crate) fn inbound(incoming: Incoming, request: &Arc<InFlight>) -> Self {
        if incoming.is_end_stream() {
            request.set_upload(Upload::Complete);
            return Self::empty();
        }
        let (request, waker) = (Arc::clone(request), ReadWaker::new(request));
        let inbound = Inbound { incoming, taken: 0, request, waker, stall: None };
        Self::of(Kind::Inbound(Box::new(inbound)))
    }

    pub(crate) fn carrying(self, carried: Carried) -> Self {
        Self { carried: Some(carried), ..self }
    }

    pub(crate) fn take_carried(&mut self) -> Option<Carried> {
        self.carried.take()
    }

    fn of(kind: Kind) -> Self {
        Self { kind, carried: None }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self::of(Kind::Full(Some(bytes.into()).filter(|bytes| !bytes.is_empty())))
    }
}

impl IntoResponse for Body {
    fn into_response(self) -> Response {
        Response::new(axum_core::body::Body::new(self))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.kind {
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Inbound(inbound) => inbound.poll_frame(cx),
            Kind::Other(other) => {
                let frame = ready!(Pin::new(other).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::broken)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Full(bytes) => bytes.is_none(),
            Kind::Inbound(inbound) => inbound.incoming.is_end_stream(),
            Kind::Other(other) => other.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Inbound(inbound) => inbound.incoming.size_hint(),
            Kind::Other(other) => other.size_hint(),
        }
    }
}

impl Inbound {
    fn poll_frame(
        &mut self,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.is_announced_too_large() {
            return Poll::Ready(Some(Err(self.too_large())));
        }
        let is_followed = cx.waker().will_wake(Waker::noop());
        let waker = self.waker.before(cx.waker());
        let cx = &mut TaskContext::from_waker(&waker);
        // Before it is polled: what comes right after that is not awaited any more.
        self.request.set_upload(Upload::Awaited);
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            // With nobody to wake, the next poll comes at once: no timer for what is mostly there.
            if is_followed {
                return Poll::Pending;
            }
            return self.poll_stall(cx).map(|error| Some(Err(error)));
        };
        self.request.stop_awaiting();
        self.stall = None;
        Poll::Ready(match frame {
            None if self.is_cut_off() => {
                Some(Err(self.broken(io::Error::from(io::ErrorKind::UnexpectedEof))))
            }
            None => {
                self.request.set_upload(Upload::Complete);
                None
            }
            Some(Err(error)) => Some(Err(self.broken(error))),
            Some(Ok(frame)) => Some(self.count(frame)),
        })
    }

    fn count(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        self.taken = self.taken.saturating_add(bytes);
        if self.taken > self.request.body_limit() {
            return Err(self.too_large());
        }
        let complete = self.incoming.is_end_stream();
        self.request.set_upload(if complete { Upload::Complete } else { Upload::Idle });
        Ok(frame)
    }

    /// Before a byte is asked for: a client that waits for `100 Continue` need not send it.
    fn is_announced_too_large(&self) -> bool {
        self.taken == 0 && self.incoming.size_hint().lower() > self.request.body_limit() as u64
    }

    /// A stream of HTTP/2 that its client resets without an error has not come to its end, though
    /// hyper says so.
    fn is_cut_off(&self) -> bool {
        self.request.link.is_multiplexed() && !self.incoming.is_end_stream()
    }

    fn broken(&self, error: impl Into<BoxError>) -> BodyError {
        let error = error.into();
        if !is_malformed(&*error) {
            self.request.set_upload(Upload::Lost);
        }
        BodyError::broken(error)
    }

    fn too_large(&self) -> BodyError {
        self.request.set_upload(Upload::TooLarge);
        BodyError(Fault::TooLarge)
    }

    fn poll_stall(&mut self, cx: &mut TaskContext<'_>) -> Poll<BodyError> {
        let limit = self.request.link.hub.limits.body_timeout;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(stall.as_mut().poll(cx));
        self.request.set_upload(Upload::Stalled);
        Poll::Ready(BodyError(Fault::Late))
    }
}

/// Whether the client has sent what is no body, rather than left.
fn is_malformed(error: &(dyn StdError + 'static)) -> bool {
    let malformed = [io::ErrorKind::InvalidData, io::ErrorKind::InvalidInput];
    let mut chain = std::iter::successors(Some(error), |&error| error.source());
    let io = chain.find_map(|error| error.downcast_ref::<io::Error>());
    io.is_some_and(|error| malformed.contains(&error.kind()))
}

impl Drop for Inbound {
    fn drop(&mut self) {
        self.request.stop_awaiting();
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("size", &self.size_hint()).finish_non_exhaustive()
    }
}

/// A body could not be read to its end.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BodyError(Fault);

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the body is larger than the server takes")]
    TooLarge,
    #[error("the body did not arrive in time")]
    Late,
    #[error("the body broke off")]
    Broken(#[source] BoxError),
}

impl BodyError {
    pub(crate) fn broken(source: impl Into<BoxError>) -> Self {
        let source = source.into();
        // A body of ours that a service wrapped into one of its own.
        source.downcast::<Self>().map_or_else(|other| Self(Fault::Broken(other)), |ours| *ours)
    }

    /// Says whether the body grew beyond the limit.
    pub fn is_too_large(&self) -> bool {
        matches!(self.0, Fault::TooLarge)
    }

    /// Says whether the body did not go on in time.
    pub fn is_late(&self) -> bool {
        matches!(self.0, Fault::Late)
    }
}

impl From<BodyError> for Error {
    fn from(error: BodyError) -> Self {
        match error.0 {
            Fault::TooLarge => Self::too_large(),
            Fault::Late => Self::late_body(),
            Fault::Broken(source) => {
                Self::bad_request("the body broke off; send it again").with_source(source)
            }
        }
    }
}

impl Error {
    pub(crate) fn too_large() -> Self {
        let message = "the body is larger than the server takes; send less";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    pub(crate) fn late_body() -> Self {
        let message = "the body did not arrive in time; send it again";
        Self::new(StatusCode::REQUEST_TIMEOUT, message)
    }
}
