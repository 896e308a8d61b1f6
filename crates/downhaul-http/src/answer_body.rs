//! [`AnswerBody`]: the body of an answer, which keeps its request in flight to the last byte, and
//! is cut where the request's context ends before.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use bytes::Bytes;
use downhaul_context::{Cause, Context};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::error::BoxError;

/// What an answer holds to its last byte.
pub(crate) trait Lifetime {
    /// The context of its request.
    fn ctx(&self) -> Context;

    /// All of the answer was handed over.
    fn complete(&mut self);

    /// The context has ended before, and so does the connection: half an answer must not look like
    /// a whole one.
    fn cut(&mut self, cause: &Cause);
}

pin_project! {
    pub(crate) struct AnswerBody<B, L> {
        #[pin]
        payload: Payload<B>,
        lifetime: L,
        // Waits for the end of the context, while the next piece is not there.
        end: Option<Pin<Box<dyn Future<Output = Cause> + Send>>>,
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
    pub(crate) fn new(payload: Payload<B>, mut lifetime: L) -> Self {
        if payload.is_end_stream() {
            lifetime.complete();
        }
        Self { payload, lifetime, end: None }
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
        let Poll::Ready(frame) = this.payload.as_mut().poll_frame(cx) else {
            let lifetime = &*this.lifetime;
            let end = this.end.get_or_insert_with(|| Box::pin(lifetime.ctx().done_owned()));
            let cause = ready!(end.as_mut().poll(cx));
            this.lifetime.cut(&cause);
            return Poll::Ready(Some(Err(cause.into())));
        };
        if frame.is_none() || this.payload.is_end_stream() {
            this.lifetime.complete();
        } else if let Some(cause) = this.lifetime.ctx().cause() {
            this.lifetime.cut(&cause);
            return Poll::Ready(Some(Err(cause.into())));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.payload.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.payload {
            Payload::Theirs { body } => body.size_hint(),
            Payload::Ours { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}

impl<B: HttpBody<Data = Bytes>> Payload<B> {
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
