//! One handler under its context.
//!
//! It is polled once where its request was read, and once more if it waits for the body, which is
//! all that most of them need. One that waits for something else goes on in a task of its own, so
//! that the answer at the deadline does not wait for it, not even when it blocks its thread. The
//! response is a value that is returned from here alone: a second answer cannot be written.

use std::any::Any;
use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use bytes::Bytes;
use downhaul_context::CauseKind;
use futures_core::future::BoxFuture;
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;
use tower_service::Service;

use crate::error::{BoxError, Error};
use crate::lifetime::answer_body::{AnswerBody, Lifetime};
use crate::lifetime::body::Body;
use crate::lifetime::exchange::Exchange;
use crate::lifetime::head::Head;
use crate::lifetime::strict;
use crate::observe::Ending;
use crate::route::routed::Routed;
use crate::serve::link::Link;

type Answer<B> = http::Response<AnswerBody<B, Exchange>>;

/// The answer of a service in the making. In a box: one that waits is moved into a task.
type Handler<B, E> = BoxFuture<'static, Result<http::Response<B>, E>>;

/// Answers one request. hyper drops the reply when the client is gone.
pub(crate) fn handle<S, B>(
    link: &Arc<Link>,
    service: S,
    request: http::Request<Incoming>,
) -> Reply<B>
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let head = Head::read(request.headers());
    let exchange = Exchange::open(link, &request, &head);
    if let Some(objection) = strict::objection(&request, &head) {
        return Reply::now(exchange.refuse(objection, Ending::Malformed));
    }
    if link.is_crowded() {
        return Reply::now(exchange.refuse(Error::crowded(), Ending::Refused));
    }
    let request = exchange.equip(request);
    if !exchange.has_time() {
        return Reply::now(exchange.refuse(Error::no_time(), Ending::Deadline));
    }
    let begun = exchange.inside(|| begin(service, request, link.hub.limits.own_tasks));
    match begun {
        Ok(Begun::Answered(answered)) => Reply::now(exchange.conclude(answered)),
        Ok(Begun::Waits(handler)) if exchange.request().is_reading() => {
            Reply::Later(Box::pin(read_on(exchange, handler)))
        }
        Ok(Begun::Waits(handler)) => Reply::Later(Box::pin(go_on(exchange, handler))),
        Err(panic) => Reply::now(exchange.refuse_panicked(&*panic)),
    }
}

enum Begun<B, E> {
    Answered(Result<http::Response<B>, E>),
    Waits(Handler<B, E>),
}

/// Makes the handler and polls it once, unless it is to have a task from the start.
///
/// Nobody is woken by this poll: the one that follows comes at once. A body knows by the waker that
/// it is so, and arms no timer.
fn begin<S, B>(
    mut service: S,
    request: http::Request<Body>,
    in_a_task: bool,
) -> Result<Begun<B, S::Error>, Box<dyn Any + Send>>
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    B: 'static,
{
    let cx = &mut TaskContext::from_waker(Waker::noop());
    catch_unwind(AssertUnwindSafe(|| {
        let readied = if in_a_task { Poll::Pending } else { service.poll_ready(cx) };
        match readied {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Begun::Answered(Err(error)),
            Poll::Pending => return Begun::Waits(Box::pin(call(service, request))),
        }
        let mut handler = service.call(request);
        if let Some(answered) = poll_routed(&mut handler, cx) {
            return match answered {
                Poll::Ready(response) => Begun::Answered(Ok(response)),
                Poll::Pending => Begun::Waits(Box::pin(handler)),
            };
        }
        let mut handler: Handler<B, S::Error> = Box::pin(handler);
        match handler.as_mut().poll(cx) {
            Poll::Ready(answered) => Begun::Answered(answered),
            Poll::Pending => Begun::Waits(handler),
        }
    }))
}

/// Polls the answer of a router, which is in a box already and can be moved; `None` for others.
fn poll_routed<T: 'static, B: 'static>(
    handler: &mut T,
    cx: &mut TaskContext<'_>,
) -> Option<Poll<http::Response<B>>> {
    let routed = (handler as &mut dyn Any).downcast_mut::<Routed>()?;
    let Poll::Ready(Ok(response)) = Pin::new(routed).poll(cx) else { return Some(Poll::Pending) };
    let mut response = Some(response);
    // It is of this type, as the service says; the compiler does not know that the two are one.
    let response = (&mut response as &mut dyn Any).downcast_mut::<Option<http::Response<B>>>();
    response.and_then(Option::take).map(Poll::Ready)
}

async fn call<S, B>(
    mut service: S,
    request: http::Request<Body>,
) -> Result<http::Response<B>, S::Error>
where
    S: Service<http::Request<Body>, Response = http::Response<B>>,
{
    poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(request).await
}

/// A reply that is there or comes later.
#[expect(clippy::large_enum_variant, reason = "most are there, and a box would cost each of them")]
pub(crate) enum Reply<B> {
    Now(Ready<Answer<B>>),
    Later(BoxFuture<'static, Answer<B>>),
}

impl<B> Reply<B> {
    fn now(answer: Answer<B>) -> Self {
        Self::Now(ready(answer))
    }
}

impl<B> Future for Reply<B> {
    type Output = Result<Answer<B>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Now(answer) => Pin::new(answer).poll(cx).map(Ok),
            Self::Later(answer) => answer.as_mut().poll(cx).map(Ok),
        }
    }
}

/// Lets a handler that waits for the body of its request read on, and then go on.
async fn read_on<B, E>(exchange: Exchange, handler: Handler<B, E>) -> Answer<B>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    E: Into<BoxError> + 'static,
{
    match poll_again(exchange, handler) {
        ControlFlow::Break(answer) => answer,
        ControlFlow::Continue((exchange, handler)) => go_on(exchange, handler).await,
    }
}

/// Polls a handler once more before it has a task: hyper hands a body over just after its head, and
/// most are whole by then.
fn poll_again<B, E>(
    exchange: Exchange,
    mut handler: Handler<B, E>,
) -> ControlFlow<Answer<B>, (Exchange, Handler<B, E>)>
where
    B: HttpBody<Data = Bytes>,
    E: Into<BoxError>,
{
    let cx = &mut TaskContext::from_waker(Waker::noop());
    let polled = catch_unwind(AssertUnwindSafe(|| exchange.inside(|| handler.as_mut().poll(cx))));
    match polled {
        Ok(Poll::Ready(answered)) => ControlFlow::Break(exchange.conclude(answered)),
        Ok(Poll::Pending) => ControlFlow::Continue((exchange, handler)),
        Err(panic) => ControlFlow::Break(exchange.refuse_panicked(&*panic)),
    }
}

/// Gives a handler its task, at once, and waits for it.
fn go_on<B, E>(
    mut exchange: Exchange,
    handler: Handler<B, E>,
) -> impl Future<Output = Answer<B>> + Send + use<B, E>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    E: Into<BoxError> + 'static,
{
    let task = exchange.spawn(async move { handler.await.map_err(Into::into) });
    wait(exchange, task)
}

/// Waits for a handler in its task. Dropped before, the exchange finds that its client is gone.
async fn wait<B: HttpBody<Data = Bytes>>(
    exchange: Exchange,
    mut task: JoinHandle<Result<http::Response<B>, BoxError>>,
) -> Answer<B> {
    match joined_in_time(&exchange, &mut task).await {
        Some(Ok(answered)) => exchange.conclude(answered),
        Some(Err(failed)) => exchange.refuse_failed(failed),
        None => exchange.refuse_overdue(),
    }
}

/// Waits for the task, as long as the context lasts; and for the cancel grace if that was not ended
/// by its deadline. The handler then has something to say that the server does not know, such as
/// that the work was done.
async fn joined_in_time<T>(
    exchange: &Exchange,
    task: &mut JoinHandle<T>,
) -> Option<Result<T, JoinError>> {
    // Many handlers are ready after one turn; for them no timer is armed.
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
