//! [`Idempotency`] around a router of ours, and around any tower service.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use axum_core::response::{IntoResponse, Response};
use bytes::Bytes;
use downhaul_context::Context;
use futures_core::future::BoxFuture;
use http_body::Body as HttpBody;
use tower_layer::Layer;
use tower_service::Service;

use super::Idempotency;
use super::rules::Entry;
use crate::error::BoxError;
use crate::lifetime::body::Body;
use crate::route::endpoint::Next;
use crate::route::request::Request;
use crate::route::router::Router;

impl<S: Send + Sync + 'static> Router<S> {
    /// Answers requests that come again with what was answered first, as a middleware does it:
    /// those that were added before run outside of it, each time that the request comes.
    #[must_use]
    pub fn idempotency(self, rules: Idempotency) -> Self {
        self.middleware(move |ctx, request, next| rules.clone().route(ctx, request, next))
    }
}

impl Idempotency {
    async fn route<S>(self, ctx: Context, mut request: Request<S>, next: Next<S>) -> Response {
        let key = match self.key(request.method(), request.headers()) {
            Ok(Some(key)) => key,
            Ok(None) => return next.run(ctx, request).await,
            Err(error) => return error.into_response(),
        };
        let body = request.replace_body(Body::empty());
        match self.enter(&ctx, request.parts(), &key, body).await {
            Entry::Answer(answer) => answer,
            Entry::Run(claimed, body) => {
                request.replace_body(Body::from(body));
                let answer = next.run(ctx.with_value(key), request).await;
                claimed.settle(&ctx, answer).await
            }
        }
    }

    async fn serve<S, B>(
        self,
        mut service: S,
        request: http::Request<B>,
    ) -> Result<Response, S::Error>
    where
        S: Service<http::Request<B>, Response: IntoResponse>,
        B: HttpBody<Data = Bytes> + From<Bytes>,
        B::Error: Into<BoxError>,
    {
        let key = match self.key(request.method(), request.headers()) {
            Ok(Some(key)) => key,
            Ok(None) => return service.call(request).await.map(IntoResponse::into_response),
            Err(error) => return Ok(error.into_response()),
        };
        let (mut parts, body) = request.into_parts();
        let ctx = parts.extensions.get::<Context>().cloned();
        let ctx = ctx.unwrap_or_else(Context::background);
        match self.enter(&ctx, &parts, &key, body).await {
            Entry::Answer(answer) => Ok(answer),
            Entry::Run(claimed, body) => {
                parts.extensions.insert(ctx.with_value(key));
                let request = http::Request::from_parts(parts, B::from(body));
                let answer = service.call(request).await?.into_response();
                Ok(claimed.settle(&ctx, answer).await)
            }
        }
    }
}

impl<S> Layer<S> for Idempotency {
    type Service = Idempotent<S>;

    fn layer(&self, service: S) -> Idempotent<S> {
        Idempotent { service, rules: self.clone() }
    }
}

/// A service behind [`Idempotency`], as its layer makes it.
#[derive(Clone, Debug)]
pub struct Idempotent<S> {
    service: S,
    rules: Idempotency,
}

impl<S, B> Service<http::Request<B>> for Idempotent<S>
where
    S: Service<http::Request<B>, Response: IntoResponse> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send,
    B: HttpBody<Data = Bytes> + From<Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = IdempotentFuture<S::Error>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        // The one that is ready is the one to call.
        let fresh = self.service.clone();
        let ready = mem::replace(&mut self.service, fresh);
        IdempotentFuture(Box::pin(self.rules.clone().serve(ready, request)))
    }
}

/// The answer of an [`Idempotent`] service in the making.
pub struct IdempotentFuture<E>(BoxFuture<'static, Result<Response, E>>);

impl<E> Future for IdempotentFuture<E> {
    type Output = Result<Response, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<E> fmt::Debug for IdempotentFuture<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotentFuture").finish_non_exhaustive()
    }
}
