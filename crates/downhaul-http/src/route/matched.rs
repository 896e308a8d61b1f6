//! [`MatchedRoutes`]: the routes of an axum router, told to the server.

use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use axum::extract::MatchedPath;
use http::{Extensions, Request};
use tower_layer::Layer;
use tower_service::Service;

use crate::lifetime::tracked::Tracked;

/// A layer for an axum router, by which the server knows which of its routes a request took. Spans,
/// metrics, access lines and reports name it then.
///
/// A handler that extracts [`Ctx`](crate::Ctx) tells it by itself. Where the router is
/// [nested](crate::Router::nest_service) in one of ours, the route is that of the outer one.
///
/// # Examples
///
/// ```
/// use axum::{Router, routing::get};
/// use downhaul_http::MatchedRoutes;
///
/// // `GET /users/7` is a request of `/users/{id}`.
/// let app: Router = Router::new().route("/users/{id}", get(async || "Ada")).layer(MatchedRoutes);
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs, reason = "a unit, which is written where it is used")]
pub struct MatchedRoutes;

/// A service whose route is told, as [`MatchedRoutes`] makes it.
#[derive(Clone, Debug)]
pub struct WithRoute<S>(S);

impl<S> Layer<S> for MatchedRoutes {
    type Service = WithRoute<S>;

    fn layer(&self, service: S) -> WithRoute<S> {
        WithRoute(service)
    }
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for WithRoute<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        tell_route(request.extensions());
        self.0.call(request)
    }
}

/// Tells the server which route axum has found, unless it knows one.
pub(crate) fn tell_route(extensions: &Extensions) {
    if let (Some(request), Some(path)) = (Tracked::request(extensions), extensions.get()) {
        request.route.get_or_init(|| Arc::from(MatchedPath::as_str(path)));
    }
}
