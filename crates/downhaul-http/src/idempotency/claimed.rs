//! [`Claimed`]: a key while its request is worked on.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use axum_core::body::Body as AnyBody;
use axum_core::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use downhaul_context::Context;
use http::StatusCode;
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use tokio::runtime::Handle;
use tracing::{Instrument, error};

use super::{IdempotencyStore, StoredAnswer, Ticket};
use crate::error::Error;

/// A key while its request is worked on. Dropped without an answer, it frees the key.
pub(super) struct Claimed {
    store: Arc<dyn IdempotencyStore>,
    ticket: Option<Ticket>,
    answer_bytes: usize,
}

impl Claimed {
    pub(super) fn new(
        store: Arc<dyn IdempotencyStore>,
        ticket: Ticket,
        answer_bytes: usize,
    ) -> Self {
        Self { store, ticket: Some(ticket), answer_bytes }
    }

    /// Keeps the answer before anybody reads it, unless it asks to try again.
    pub(super) async fn settle(mut self, ctx: &Context, answer: Response) -> Response {
        if !is_final(answer.status()) {
            // Before the client can come again.
            if let Some(ticket) = &self.ticket {
                release(&*self.store, ticket).await;
            }
            self.ticket = None;
            return answer;
        }
        let (parts, body) = answer.into_parts();
        let (stored, body) = match gather(body, self.answer_bytes).await {
            Ok(Gathered::Whole(body)) => {
                (StoredAnswer::of(&parts, body.clone()), AnyBody::from(body))
            }
            Ok(Gathered::Part(body)) => (StoredAnswer::unkept(), body),
            Err(broken) => return Error::internal(broken).into_response(),
        };
        if let Some(ticket) = self.ticket.take()
            && let Err(error) = self.store.keep(ctx, &ticket, stored).await
        {
            error!(%error, key = ticket.key(), "answer not kept; its key stays claimed");
        }
        Response::from_parts(parts, body)
    }
}

async fn release(store: &dyn IdempotencyStore, ticket: &Ticket) {
    if let Err(error) = store.release(ticket).await {
        error!(%error, key = ticket.key(), "key not freed; its claim has to run out");
    }
}

/// Whether the same request would be answered in the same way again.
fn is_final(status: StatusCode) -> bool {
    let again = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    !status.is_informational() && !status.is_server_error() && !again.contains(&status)
}

impl Drop for Claimed {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        // Without a runtime the process ends, and its claims with it or by themselves.
        let Ok(runtime) = Handle::try_current() else { return };
        let store = Arc::clone(&self.store);
        let release = async move { release(&*store, &ticket).await };
        runtime.spawn(release.in_current_span());
    }
}

enum Gathered {
    Whole(Bytes),
    Part(AnyBody),
}

/// Reads a body that is not larger than `most`.
async fn gather(mut body: AnyBody, most: usize) -> Result<Gathered, axum_core::Error> {
    if body.size_hint().lower() > most as u64 {
        return Ok(Gathered::Part(body));
    }
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await.transpose()? {
        match frame.data_ref() {
            Some(data) if read.len() + data.len() <= most => read.extend_from_slice(data),
            // It is too large, or ends with trailers, which are not kept.
            _ => {
                let (read, next) = (read.freeze(), Some(frame));
                let whole = AnyBody::new(Resumed { read, next, rest: body });
                return Ok(Gathered::Part(whole));
            }
        }
    }
    Ok(Gathered::Whole(read.freeze()))
}

/// A body of which something was read already.
struct Resumed {
    read: Bytes,
    next: Option<Frame<Bytes>>,
    rest: AnyBody,
}

impl HttpBody for Resumed {
    type Data = Bytes;
    type Error = axum_core::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum_core::Error>>> {
        if !self.read.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(mem::take(&mut self.read)))));
        }
        match self.next.take() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }
}
