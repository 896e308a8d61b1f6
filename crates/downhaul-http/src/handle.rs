//! One handler under its context.
//!
//! It runs in a task of its own, so the answer at the deadline does not wait for it, not even when
//! it blocks its thread. The response is a value that only [`handle`] returns: a second answer
//! cannot be written.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use downhaul_context::CauseKind;
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;
use tower_service::Service;

use crate::answer_body::{AnswerBody, Lifetime};
use crate::body::Body;
use crate::error::{BoxError, Error};
use crate::exchange::Exchange;
use crate::head::Head;
use crate::link::Link;
use crate::observe::Ending;
use crate::strict;

/// Answers one request. hyper drops this future when the client is gone.
pub(crate) async fn handle<S, B>(
    link: Arc<Link>,
    service: S,
    request: http::Request<Incoming>,
) -> Result<http::Response<AnswerBody<B, Exchange>>, Infallible>
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let head = Head::read(request.headers());
    let mut exchange = Exchange::open(&link, &request, &head);
    if let Some(objection) = strict::objection(&request, &head) {
        return Ok(exchange.refuse(objection, Ending::Malformed, true));
    }
    if link.is_crowded() {
        return Ok(exchange.refuse(Error::crowded(), Ending::Refused, false));
    }
    let request = exchange.equip(request);
    if !exchange.has_time() {
        return Ok(exchange.refuse(Error::no_time(), Ending::Deadline, false));
    }
    // In a box: the runtime moves what it spawns a few times, and this is large.
    let mut task = exchange.spawn(Box::pin(call(service, request)));
    // Dropped here, the exchange finds that its client is gone.
    let joined = joined_in_time(&exchange, &mut task).await;
    Ok(match joined {
        Some(Ok(Ok(response))) => exchange.finish(response),
        Some(Ok(Err(source))) => exchange.refuse(Error::internal(source), Ending::Failed, false),
        Some(Err(failed)) => exchange.refuse_failed(failed),
        None => exchange.refuse_overdue(),
    })
}

async fn call<S, B>(
    mut service: S,
    request: http::Request<Body>,
) -> Result<http::Response<B>, BoxError>
where
    S: Service<http::Request<Body>, Response = http::Response<B>>,
    S::Error: Into<BoxError>,
{
    poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
    service.call(request).await.map_err(Into::into)
}

/// Waits for the task, as long as the context lasts; and for the cancel grace if that was not ended
/// by its deadline. The handler then has something to say that the server does not know, such as
/// that the work was done.
async fn joined_in_time<T>(
    exchange: &Exchange,
    task: &mut JoinHandle<T>,
) -> Option<Result<T, JoinError>> {
    // Most handlers are ready after one turn; for them no timer is armed.
    if let Some(joined) = joined_in_a_turn(task).await {
        return Some(joined);
    }
    let request = exchange.request();
    let cause = loop {
        let ctx = exchange.ctx();
        tokio::select! {
            biased;
            joined = &mut *task => return Some(joined),
            () = request.granted() => {}
            // One that was granted before another ends unheard.
            cause = ctx.done() => if exchange.ctx().is_same(&ctx) { break cause },
        }
    };
    if cause.kind() != CauseKind::Deadline {
        exchange.cancelled();
        return timeout(request.cancel_grace(), task).await.ok();
    }
    // An answer that is ready at the deadline wins, also where the handler is woken by the same
    // tick and has not run yet.
    joined_in_a_turn(task).await
}

/// Polls the task, lets the runtime run whatever is queued before this task, and polls once more.
///
/// Not [`tokio::task::yield_now`], which waits for this worker to be idle: the handler may be
/// blocking it.
async fn joined_in_a_turn<T>(task: &mut JoinHandle<T>) -> Option<Result<T, JoinError>> {
    let mut turned = false;
    poll_fn(|cx| match Pin::new(&mut *task).poll(cx) {
        Poll::Ready(joined) => Poll::Ready(Some(joined)),
        Poll::Pending if turned => Poll::Ready(None),
        Poll::Pending => {
            turned = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}
