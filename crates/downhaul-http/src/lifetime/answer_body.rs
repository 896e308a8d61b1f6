//! [`AnswerBody`]: the body of an answer, which keeps its request in flight to the last byte, and
//! is cut where the request's context ends before.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use bytes::Bytes;
use downhaul_context::{Cause, Context, RequestId};
use futures_core::future::BoxFuture;
use http::response::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::error::BoxError;
use crate::observe::Ending;
use crate::problem;

/// What an answer holds to its last byte.
pub(crate) trait Lifetime {
    /// The context of its request.
    fn ctx(&self) -> Context;

    /// Does a piece of the request's work, so that its lines are known for its own.
    fn inside<T>(&self, work: impl FnOnce() -> T) -> T;

    /// How much of it may be handed over at once, in bytes.
    fn piece(&self) -> usize {
        usize::MAX
    }

    /// It was asked for more, which was there or not.
    fn asked(&self, _is_there: bool) {}

    /// So many bytes of it were handed over.
    fn sent(&mut self, _bytes: usize) {}

    /// All of the answer was handed over.
    fn complete(&mut self);

    /// The context has ended before, and so does the connection: half an answer must not look like
    /// a whole one.
    fn cut(&mut self, cause: &Cause);

    /// The body has failed by itself, and so the connection ends before its last byte.
    fn broke_off(&mut self, ending: Ending, why: &str);
}

pin_project! {
    #[project = AnswerProjection]
    pub(crate) struct AnswerBody<B, L: Lifetime> {
        #[pin]
        payload: Payload<B>,
        // Whether the payload is still made while it is sent, and not just bytes.
        is_work: bool,
        // What is left of a piece that was larger than may be handed over at once.
        rest: Bytes,
        // Of its announced length, what is to come: HTTP/1 asks for nothing after that.
        left: Option<u64>,
        lifetime: L,
        // Waits for the end of the context, while the next piece is not there.
        end: Option<BoxFuture<'static, Cause>>,
    }

    impl<B, L: Lifetime> PinnedDrop for AnswerBody<B, L> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if *this.is_work {
                this.lifetime.inside(|| this.payload.set(Payload::Ours { bytes: None }));
            }
        }
    }
}

pin_project! {
    #[project = PayloadProjection]
    pub(crate) enum Payload<B> {
        /// What the service answered.
        Theirs { #[pin] body: B },
        /// What the server answered in its place.
        Ours { bytes: Option<Bytes> },
    }
}

impl<B: HttpBody<Data = Bytes>, L: Lifetime> AnswerBody<B, L> {
    /// The body of an answer with these headers.
    pub(crate) fn new(headers: &HeaderMap, payload: Payload<B>, mut lifetime: L) -> Self {
        let left = payload.size_hint().exact().or_else(|| announced(headers));
        if left == Some(0) || payload.is_end_stream() {
            lifetime.complete();
        }
        let is_work = payload.size_hint().exact().is_none();
        Self { payload, is_work, rest: Bytes::new(), left, lifetime, end: None }
    }
}

impl<B, L> HttpBody for AnswerBody<B, L>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
    L: Lifetime,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        if !this.rest.is_empty() {
            return Poll::Ready(Some(Ok(this.take_rest())));
        }
        let polled = this.poll_payload(cx);
        this.lifetime.asked(polled.is_ready());
        match polled {
            Poll::Ready(frame) => Poll::Ready(this.hand_over(frame)),
            Poll::Pending => this.poll_end(cx).map(|error| Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.payload.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.payload.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}

type Polled = Option<Result<Frame<Bytes>, BoxError>>;

impl<B, L> AnswerProjection<'_, B, L>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
    L: Lifetime,
{
    /// More of a piece whose first part was handed over, when its context was looked at.
    fn take_rest(&mut self) -> Frame<Bytes> {
        self.lifetime.asked(true);
        let part = first(self.rest, self.lifetime.piece());
        self.lifetime.sent(part.len());
        let is_last = *self.left == Some(0) || self.payload.is_end_stream();
        if self.rest.is_empty() && is_last {
            self.lifetime.complete();
        }
        Frame::data(part)
    }

    /// Asks for the next piece. A panic is an error of the body.
    fn poll_payload(&mut self, cx: &mut TaskContext<'_>) -> Poll<Polled> {
        let poll = AssertUnwindSafe(|| self.payload.as_mut().poll_frame(cx));
        let polled = match *self.is_work {
            true => self.lifetime.inside(|| catch_unwind(poll)),
            false => catch_unwind(poll),
        };
        polled.unwrap_or_else(|panic| {
            self.lifetime.broke_off(Ending::Panicked, panic_text(&*panic));
            Poll::Ready(Some(Err("the body of the answer panicked".into())))
        })
    }

    /// Waits for the end of the context, while the next piece is not there.
    fn poll_end(&mut self, cx: &mut TaskContext<'_>) -> Poll<BoxError> {
        let lifetime = &*self.lifetime;
        let end = self.end.get_or_insert_with(|| Box::pin(lifetime.ctx().done_owned()));
        let cause = ready!(end.as_mut().poll(cx));
        self.lifetime.cut(&cause);
        Poll::Ready(cause.into())
    }

    /// Lets a piece go, unless the context has ended and it is not the last, or it is none.
    fn hand_over(&mut self, frame: Polled) -> Polled {
        if let Some(Err(error)) = frame {
            // After a panic this is the second thing said, and the first counts.
            self.lifetime.broke_off(Ending::Failed, &error.to_string());
            return Some(Err(error));
        }
        if frame.is_none() && self.left.is_some_and(|left| left > 0) {
            let why = "it is shorter than it was said to be";
            self.lifetime.broke_off(Ending::Failed, why);
        }
        let is_last = is_last(&frame, self.left) || self.payload.is_end_stream();
        if !is_last && let Some(cause) = self.lifetime.ctx().cause() {
            self.lifetime.cut(&cause);
            return Some(Err(cause.into()));
        }
        let piece = self.lifetime.piece();
        let frame = frame.map(|frame| Ok(divide(frame?, self.rest, piece)));
        if let Some(Ok(frame)) = &frame {
            self.lifetime.sent(frame.data_ref().map_or(0, Bytes::len));
        }
        if is_last && self.rest.is_empty() {
            self.lifetime.complete();
        }
        frame
    }
}

/// The length that the headers of an answer say it has.
fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether nothing comes after this frame, of which `left` is told.
fn is_last<E>(frame: &Option<Result<Frame<Bytes>, E>>, left: &mut Option<u64>) -> bool {
    let Some(Ok(frame)) = frame else { return true };
    let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
    *left = left.map(|left| left.saturating_sub(bytes));
    *left == Some(0) || frame.is_trailers()
}

/// What a panic was told.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("not a text")
}

/// Takes the first bytes, at most so many.
fn first(bytes: &mut Bytes, most: usize) -> Bytes {
    bytes.split_to(bytes.len().min(most))
}

/// Leaves in `rest` what is too much of a frame.
fn divide(frame: Frame<Bytes>, rest: &mut Bytes, most: usize) -> Frame<Bytes> {
    match frame.into_data() {
        Ok(mut bytes) if bytes.len() > most => {
            let part = first(&mut bytes, most);
            *rest = bytes;
            Frame::data(part)
        }
        Ok(bytes) => Frame::data(bytes),
        Err(trailers) => trailers,
    }
}

/// Whether the connection goes on as something else after this answer (RFC 9110 §7.8, §9.3.6).
pub(crate) fn is_upgrade(method: &Method, status: StatusCode) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS || *method == Method::CONNECT && status.is_success()
}

impl<B: HttpBody<Data = Bytes>> Payload<B> {
    /// The body of an answer of a service; where that is a problem, its document with the id of the
    /// request.
    pub(crate) fn of(parts: &mut Parts, body: B, id: &RequestId) -> Self {
        match problem::named(parts, &body, id) {
            Some(document) => Self::Ours { bytes: Some(document) },
            None => Self::Theirs { body },
        }
    }

    /// What is sent of it: nothing where HTTP has no body (RFC 9110 §6.4.1), whatever the service
    /// gave the answer, since hyper would send it over HTTP/2. HEAD tells its length all the same.
    pub(crate) fn fit(self, method: &Method, parts: &mut Parts) -> Self {
        let status = parts.status;
        let never = status.is_informational()
            || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status)
            || is_upgrade(method, status);
        if !never && *method != Method::HEAD {
            return self;
        }
        let length = self.size_hint().exact().filter(|length| !never && *length > 0);
        if let Some(length) = length {
            parts.headers.entry(header::CONTENT_LENGTH).or_insert(length.into());
        }
        Self::Ours { bytes: None }
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Theirs { body } => body.size_hint(),
            Self::Ours { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Theirs { body } => body.is_end_stream(),
            Self::Ours { bytes } => bytes.is_none(),
        }
    }

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>
    where
        B::Error: Into<BoxError>,
    {
        match self.project() {
            PayloadProjection::Theirs { body } => {
                let frame = ready!(body.poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            PayloadProjection::Ours { bytes } => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }
}
