//! [`Routed`]: the answer of a [`Router`], which is a tower service.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use axum_core::response::Response;
use bytes::Bytes;
use http_body::Body as HttpBody;
use tower_service::Service;

use crate::error::BoxError;
use crate::lifetime::body::Body;
use crate::route::endpoint::Answering;
use crate::route::router::Router;

impl<S, B> Service<http::Request<B>> for Router<S>
where
    S: Send + Sync + 'static,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Routed;

    fn poll_ready(&mut self, _cx: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Routed {
        Routed(self.answer(request.map(Body::new)))
    }
}

/// The answer of a [`Router`] in the making.
pub struct Routed(Answering);

impl Future for Routed {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map(Ok)
    }
}

impl fmt::Debug for Routed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routed").finish_non_exhaustive()
    }
}
