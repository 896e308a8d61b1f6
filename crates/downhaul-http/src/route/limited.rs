//! [`Limited`]: a tower service under [`RouteLimits`].

use std::fmt;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use axum_core::response::{IntoResponse, Response};
use downhaul_context::Context;
use futures_core::future::BoxFuture;
use http::Request;
use tower_layer::Layer;
use tower_service::Service;

use crate::lifetime::tracked::Tracked;
use crate::route::route_limits::RouteLimits;

/// A service under [`RouteLimits`], as their layer makes it.
#[derive(Clone, Debug)]
pub struct Limited<S> {
    service: S,
    limits: RouteLimits,
}

impl<S> Layer<S> for RouteLimits {
    type Service = Limited<S>;

    fn layer(&self, service: S) -> Limited<S> {
        Limited { service, limits: self.clone() }
    }
}

impl<S, B> Service<Request<B>> for Limited<S>
where
    S: Service<Request<B>, Response: IntoResponse>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = LimitedFuture<S::Error>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let in_flight = Tracked::request(request.extensions()).map(|request| &**request);
        let ctx = request.extensions().get::<Context>().cloned();
        let ctx = ctx.unwrap_or_else(Context::background);
        let (ctx, permit) = match self.limits.enter(ctx, in_flight) {
            Ok(entered) => entered,
            Err(error) => return LimitedFuture(Box::pin(async { Ok(error.into_response()) })),
        };
        request.extensions_mut().insert(ctx);
        let answer = self.service.call(request);
        LimitedFuture(Box::pin(async move {
            let _permit = permit;
            answer.await.map(IntoResponse::into_response)
        }))
    }
}

/// The answer of a [`Limited`] service in the making.
pub struct LimitedFuture<E>(BoxFuture<'static, Result<Response, E>>);

impl<E> Future for LimitedFuture<E> {
    type Output = Result<Response, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<E> fmt::Debug for LimitedFuture<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitedFuture").finish_non_exhaustive()
    }
}
