//! [`CallLayer`]: calls to other services as part of the request that makes them.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use downhaul_context::Context;
use futures_core::future::BoxFuture;
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::call::call_body::{CallBody, OfCall};
use crate::call::call_error::CallError;
use crate::call::inject::inject;
use crate::error::BoxError;

/// Makes a client's calls part of the context that is in their extensions.
///
/// It is for clients that are tower services of [`http::Request`], such as hyper-util's `Client` or
/// a channel of tonic. A call tells the other side what [`inject`] writes, and is over when its
/// context ends: it is dropped then, so that the other side sees its client leave. The body of the
/// answer is under the context, too. Where no time is left for the other side, nothing is sent.
///
/// A request that a [`Server`](crate::Server) has served has its context there already, as what is
/// passed on wants it. A call without a context goes out as it is.
///
/// # Examples
///
/// ```
/// use downhaul_context::Context;
/// use downhaul_http::{Body, CallLayer, Calls, Error};
/// use hyper_util::client::legacy::{Client, connect::HttpConnector};
/// use hyper_util::rt::TokioExecutor;
/// use std::time::Duration;
/// use tower::{Layer, ServiceExt};
///
/// type Stock = Calls<Client<HttpConnector, Body>>;
///
/// let client = Client::builder(TokioExecutor::new()).build_http();
/// // 50 ms are left to answer without the other side.
/// let stock: Stock = CallLayer::new(Duration::from_millis(50)).layer(client);
///
/// async fn ask(ctx: Context, stock: Stock) -> Result<String, Error> {
///     let call = http::Request::get("http://stock.internal/left").extension(ctx);
///     let answer = stock.oneshot(call.body(Body::empty()).map_err(Error::internal)?).await?;
///     Ok(answer.status().to_string())
/// }
/// # let _ = (ask, stock);
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "add it to a client"]
pub struct CallLayer {
    reserve: Duration,
}

impl CallLayer {
    /// A layer that takes `reserve` off the time that the other side is given, and that the call
    /// may take, so that there is still time to answer without it: for a call that is not answered,
    /// and an answer that is not read by then, it is over as at the deadline.
    pub fn new(reserve: Duration) -> Self {
        Self { reserve }
    }

    /// The context of a call, once its head says what the other side is to know of it.
    fn prepare<B>(self, request: &mut Request<B>) -> Result<Option<OfCall>, CallError> {
        let Some(ctx) = request.extensions().get::<Context>().cloned() else { return Ok(None) };
        ctx.check()?;
        let given = ctx.remaining().map(|left| left.saturating_sub(self.reserve));
        // They are told whole milliseconds, and refuse what has none.
        if given.is_some_and(|given| given < Duration::from_millis(1)) {
            return Err(CallError::NoTime);
        }
        inject(&ctx, request.headers_mut(), self.reserve);
        let Some(given) = given else { return Ok(Some(OfCall { ctx, canceller: None })) };
        let (ctx, canceller) = ctx.derive().label("call").timeout(given).build();
        Ok(Some(OfCall { ctx, canceller: Some(canceller) }))
    }
}

impl<S> Layer<S> for CallLayer {
    type Service = Calls<S>;

    fn layer(&self, service: S) -> Calls<S> {
        Calls { service, layer: *self }
    }
}

/// A client whose calls are part of their contexts, as a [`CallLayer`] makes it.
#[derive(Clone, Debug)]
pub struct Calls<S> {
    service: S,
    layer: CallLayer,
}

impl<S, B, R> Service<Request<B>> for Calls<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = Response<CallBody<R>>;
    type Error = CallError;
    type Future = CallFuture<R>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), CallError>> {
        let readied = ready!(self.service.poll_ready(cx));
        Poll::Ready(readied.map_err(CallError::failed))
    }

    fn call(&mut self, mut request: Request<B>) -> CallFuture<R> {
        let of_call = match self.layer.prepare(&mut request) {
            Ok(of_call) => of_call,
            Err(error) => return CallFuture(Box::pin(async { Err(error) })),
        };
        let call = self.service.call(request);
        CallFuture(Box::pin(async move {
            let answered = match &of_call {
                Some(of_call) => of_call.ctx.run(call).await?,
                None => call.await,
            };
            let answer = answered.map_err(CallError::failed)?;
            Ok(answer.map(|body| CallBody::new(body, of_call)))
        }))
    }
}

/// The answer to a [call](Calls) on its way.
pub struct CallFuture<R>(BoxFuture<'static, Answered<R>>);

type Answered<R> = Result<Response<CallBody<R>>, CallError>;

impl<R> Future for CallFuture<R> {
    type Output = Answered<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Answered<R>> {
        self.0.as_mut().poll(cx)
    }
}

impl<R> fmt::Debug for CallFuture<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallFuture").finish_non_exhaustive()
    }
}
