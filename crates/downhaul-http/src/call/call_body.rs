//! [`CallBody`]: the body of an answer from another service, under the context of the call.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use downhaul_context::{Canceller, Cause, Context};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::call::call_error::CallError;
use crate::error::BoxError;

pin_project! {
    /// The body of an answer to a [call](crate::Calls). It fails when the context of the call ends
    /// before it does, and lets go of the connection then; one that nobody reads does so once it is
    /// dropped.
    pub struct CallBody<B> {
        // None once it was let go of.
        #[pin]
        body: Option<B>,
        of_call: Option<OfCall>,
        // Waits for the end of the context, once a piece was not there at once.
        ended: Option<Pin<Box<dyn Future<Output = Cause> + Send + Sync>>>,
    }
}

/// The context of a call, to the end of its answer.
pub(crate) struct OfCall {
    pub(crate) ctx: Context,
    /// Where the call has less time than what makes it. Dropped with the answer.
    #[expect(dead_code, reason = "held")]
    pub(crate) canceller: Option<Canceller>,
}

impl<B> CallBody<B> {
    pub(crate) fn new(body: B, of_call: Option<OfCall>) -> Self {
        Self { body: Some(body), of_call, ended: None }
    }
}

impl<B> HttpBody for CallBody<B>
where
    B: HttpBody,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = CallError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, CallError>>> {
        let mut this = self.project();
        let Some(mut body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let ctx = this.of_call.as_ref().map(|of_call| &of_call.ctx);
        let cause = match (body.as_mut().poll_frame(cx), ctx) {
            (Poll::Ready(frame), ctx) => {
                let is_last = frame.is_none() || body.is_end_stream();
                match ctx.and_then(Context::cause).filter(|_| !is_last) {
                    Some(cause) => cause,
                    None => {
                        return Poll::Ready(frame.map(|frame| frame.map_err(CallError::failed)));
                    }
                }
            }
            (Poll::Pending, None) => return Poll::Pending,
            (Poll::Pending, Some(ctx)) => {
                let ended = this.ended.get_or_insert_with(|| Box::pin(ctx.done_owned()));
                ready!(ended.as_mut().poll(cx))
            }
        };
        this.body.set(None);
        Poll::Ready(Some(Err(cause.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

impl<B: fmt::Debug> fmt::Debug for CallBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallBody").field("body", &self.body).finish_non_exhaustive()
    }
}
