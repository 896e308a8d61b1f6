//! [`Endpoint`]: a handler without its type. [`Next`]: the rest of a chain of middleware.

use std::fmt;
use std::sync::Arc;

use axum_core::response::{IntoResponse, Response};
use downhaul_context::Context;
use futures_core::future::BoxFuture;

use crate::route::request::Request;

pub(crate) type Answering = BoxFuture<'static, Response>;

/// Answers a request.
pub(crate) type Endpoint<S> = Arc<dyn Fn(Context, Request<S>) -> Answering + Send + Sync>;

/// Answers a request with the help of what comes after it.
pub(crate) type Middleware<S> =
    Arc<dyn Fn(Context, Request<S>, Next<S>) -> Answering + Send + Sync>;

pub(crate) fn endpoint<S, H, F>(handler: H) -> Endpoint<S>
where
    H: Fn(Context, Request<S>) -> F + Send + Sync + 'static,
    F: Future<Output: IntoResponse> + Send + 'static,
{
    Arc::new(move |ctx, request| {
        let answer = handler(ctx, request);
        Box::pin(async move { answer.await.into_response() })
    })
}

pub(crate) fn middleware<S, M, F>(middleware: M) -> Middleware<S>
where
    M: Fn(Context, Request<S>, Next<S>) -> F + Send + Sync + 'static,
    F: Future<Output: IntoResponse> + Send + 'static,
{
    Arc::new(move |ctx, request, next| {
        let answer = middleware(ctx, request, next);
        Box::pin(async move { answer.await.into_response() })
    })
}

/// What comes after a middleware: the next one, or the handler.
pub struct Next<S = ()> {
    chain: Arc<[Middleware<S>]>,
    passed: usize,
    last: Endpoint<S>,
}

impl<S> Next<S> {
    pub(crate) fn new(chain: Arc<[Middleware<S>]>, last: Endpoint<S>) -> Self {
        Self { chain, passed: 0, last }
    }

    /// Runs the rest and returns its answer. Takes itself: there is one answer.
    ///
    /// # Cancel safety
    ///
    /// As cancel safe as the handler is.
    pub async fn run(self, ctx: Context, request: Request<S>) -> Response {
        self.start(ctx, request).await
    }

    pub(crate) fn start(mut self, ctx: Context, request: Request<S>) -> Answering {
        match self.chain.get(self.passed).cloned() {
            Some(middleware) => {
                self.passed += 1;
                middleware(ctx, request, self)
            }
            None => (self.last)(ctx, request),
        }
    }
}

impl<S> fmt::Debug for Next<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.chain.len() - self.passed;
        f.debug_struct("Next").field("middleware_left", &left).finish_non_exhaustive()
    }
}
