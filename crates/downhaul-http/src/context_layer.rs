//! [`ContextLayer`]: requests as lifetimes under a server that is not ours.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use axum_core::body::Body as AnyBody;
use axum_core::response::{IntoResponse, Response};
use downhaul_context::{Canceller, Cause, Context, Reason, RequestId, ambient};
use futures_core::future::BoxFuture;
use http::{HeaderValue, Method, Request};
use tower_layer::Layer;
use tower_service::Service;
use tracing::error;

use crate::error::Error;
use crate::lifetime::answer_body::{AnswerBody, Lifetime, Payload, is_upgrade};
use crate::lifetime::exchange::X_REQUEST_ID;
use crate::lifetime::head::{self, Head};
use crate::lifetime::in_flight;
use crate::lifetime::strict;
use crate::observe::Ending;
use crate::serve::limits::Limits;

/// Gives each request a context, for services that another server serves, such as `axum::serve`.
///
/// The context carries the request id, which the answer carries too, and the position in a trace;
/// it ends with the deadline, which is answered with 504, with the client, with the last byte of
/// the answer, or with the context that the layer was made of. Budgets of clients are read and
/// heads refused as by [`Server`](crate::Server). Where the connection goes on as something else,
/// such as a WebSocket, it ends with the deadline or with the layer's context alone.
///
/// What takes a server is not there. A handler is dropped where it waits when its context ends,
/// without a grace, and one that blocks its thread delays the 504. Connections have no limits but
/// the server's own, clients are seen to leave only where hyper sees it, panics are the server's
/// business, and a drain has no report.
///
/// # Examples
///
/// ```
/// use axum::{Router, routing::get};
/// use downhaul_context::Context;
/// use downhaul_http::ContextLayer;
/// use std::time::Duration;
///
/// async fn slow() {
///     tokio::time::sleep(Duration::from_secs(60)).await;
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let (service, _canceller) = Context::root();
/// let layer = ContextLayer::new(service).timeout(Duration::from_secs(5));
/// let app: Router = Router::new().route("/slow", get(slow)).layer(layer);
///
/// # use tower::ServiceExt;
/// # let request = http::Request::get("/slow").header("host", "t");
/// # let request = request.body(axum::body::Body::empty()).unwrap();
/// assert_eq!(app.oneshot(request).await.unwrap().status(), 504);
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "add it to a service"]
pub struct ContextLayer {
    ctx: Context,
    limits: Limits,
}

impl ContextLayer {
    /// A layer whose requests are children of `ctx`, with the defaults of a
    /// [`Server`](crate::Server).
    pub fn new(ctx: Context) -> Self {
        Self { ctx, limits: Limits::default() }
    }

    /// How long a request may take; otherwise as [`Server::timeout`](crate::Server::timeout).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limits.timeout = timeout;
        self
    }

    /// Whether a client may shorten the timeout; otherwise as
    /// [`Server::client_budget`](crate::Server::client_budget).
    pub fn client_budget(mut self, read: bool) -> Self {
        self.limits.client_budget = read;
        self
    }

    fn open<B>(&self, request: &Request<B>, head: &Head<'_>) -> Visit {
        let id = head.request_id();
        let timeout = self.limits.bounded(self.limits.counting(head.budget));
        let label = in_flight::line(request.method(), request.uri());
        let (ctx, canceller) = self.ctx.derive().label(label).timeout(timeout).build();
        let ctx = head::bind(&ctx, id.clone(), head.trace());
        let (method, has_time) = (request.method().clone(), !timeout.is_zero());
        let canceller = Some(canceller);
        Visit { ctx, canceller, id, method, has_time, is_over: false }
    }
}

impl<S> Layer<S> for ContextLayer {
    type Service = InContext<S>;

    fn layer(&self, service: S) -> InContext<S> {
        InContext { service, layer: self.clone() }
    }
}

/// A service whose requests have contexts, as a [`ContextLayer`] makes it.
#[derive(Clone, Debug)]
pub struct InContext<S> {
    service: S,
    layer: ContextLayer,
}

impl<S, B> Service<Request<B>> for InContext<S>
where
    S: Service<Request<B>, Response: IntoResponse>,
    S::Future: Send + 'static,
    S::Error: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = InContextFuture<S::Error>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let head = Head::read(request.headers());
        let visit = self.layer.open(&request, &head);
        let objection = strict::objection(&request, &head);
        let objection = objection.or_else(|| (!visit.has_time).then(Error::no_time));
        if let Some(error) = objection {
            return InContextFuture(Box::pin(async { Ok(visit.answer(error.into_response())) }));
        }
        request.extensions_mut().insert(visit.ctx.clone());
        let answer = self.service.call(request);
        InContextFuture(Box::pin(async move {
            let mut visit = visit;
            let answer = tokio::select! {
                // An answer that is ready at the deadline wins.
                biased;
                answer = answer => answer.inspect_err(|_| visit.is_over = true)?.into_response(),
                cause = visit.ctx.done() => Error::from(cause).into_response(),
            };
            Ok(visit.answer(answer))
        }))
    }
}

/// The answer of a service [in a context](InContext) in the making.
pub struct InContextFuture<E>(BoxFuture<'static, Result<Response, E>>);

impl<E> Future for InContextFuture<E> {
    type Output = Result<Response, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<E> fmt::Debug for InContextFuture<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InContextFuture").finish_non_exhaustive()
    }
}

/// What one request holds until the last byte of its answer. Dropped before, it ends the request's
/// context, for the client is gone.
struct Visit {
    // Before the canceller: a context that nobody holds any more needs no ending.
    ctx: Context,
    /// None once the connection goes on as something else, which may last longer.
    canceller: Option<Canceller>,
    id: RequestId,
    method: Method,
    has_time: bool,
    is_over: bool,
}

impl Visit {
    fn answer(mut self, answer: Response) -> Response {
        if is_upgrade(&self.method, answer.status())
            && let Some(canceller) = self.canceller.take()
        {
            canceller.disarm();
        }
        let (mut parts, body) = answer.into_parts();
        if let Ok(id) = HeaderValue::from_str(self.id.as_str()) {
            parts.headers.insert(X_REQUEST_ID, id);
        }
        let payload = Payload::of(&mut parts, body, &self.id).fit(&self.method, &mut parts);
        let body: AnswerBody<AnyBody, Self> = AnswerBody::new(&parts.headers, payload, self);
        Response::from_parts(parts, AnyBody::new(body))
    }
}

impl Lifetime for Visit {
    fn ctx(&self) -> Context {
        self.ctx.clone()
    }

    /// What is around the layer has a span of its own, or none.
    fn inside<T>(&self, work: impl FnOnce() -> T) -> T {
        let _inside = ambient::enter(&self.ctx);
        work()
    }

    fn complete(&mut self) {
        self.is_over = true;
    }

    fn cut(&mut self, _cause: &Cause) {
        self.is_over = true;
    }

    fn broke_off(&mut self, ending: Ending, why: &str) {
        if !mem::replace(&mut self.is_over, true) {
            error!(error = why, id = %self.id, "the answer broke off: {ending}");
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let is_over = self.is_over || std::thread::panicking();
        if let Some(canceller) = self.canceller.as_ref().filter(|_| !is_over) {
            canceller.cancel_with(Reason::client_gone());
        }
    }
}
