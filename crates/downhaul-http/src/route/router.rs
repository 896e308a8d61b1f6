//! [`Router`]: paths and methods to handlers.

use std::fmt;
use std::sync::Arc;

use axum_core::response::IntoResponse;
use downhaul_context::Context;
use http::Method;
use tower_service::Service;

use crate::error::BoxError;
use crate::lifetime::body::Body;
use crate::route::endpoint::{Answering, Endpoint, Middleware, Next, endpoint, middleware};
use crate::route::mount::mounted;
use crate::route::request::Request;
use crate::route::route_limits::RouteLimits;
use crate::route::router_types;
use crate::route::table::{Route, Table, under};

/// Paths and methods to handlers: `async fn(ctx: Context, req: Request) -> impl IntoResponse`.
///
/// Paths are literal but for `{name}`, one segment, and `{*name}`, the rest. A trailing slash makes
/// another path. What no path matches is answered with 404, or by a [fallback](Self::fallback), a
/// method that a path has not with 405 and `Allow`; HEAD is answered by GET, OPTIONS with `Allow`,
/// and `OPTIONS *` with the methods of all paths. A CONNECT has no path, and reads 501.
///
/// It is a tower service: [`Server`](crate::Server) serves it, and axum nests it. It nests axum,
/// and any other such service, with [`nest_service`](Self::nest_service).
///
/// # Examples
///
/// ```
/// use axum_core::response::Response;
/// use downhaul_context::Context;
/// use downhaul_http::{Error, Next, Request, Router};
///
/// struct Shop {
///     open: bool,
/// }
///
/// async fn order(_ctx: Context, req: Request<Shop>) -> Result<String, Error> {
///     Ok(format!("order {}", req.param::<u64>("id")?))
/// }
///
/// async fn only_when_open(
///     ctx: Context,
///     req: Request<Shop>,
///     next: Next<Shop>,
/// ) -> Result<Response, Error> {
///     if !req.state().open {
///         return Err(Error::unavailable("the shop is closed; come back tomorrow"));
///     }
///     Ok(next.run(ctx, req).await)
/// }
///
/// let shop = Router::with_state(Shop { open: true })
///     .get("/orders/{id}", order)
///     .middleware(only_when_open);
/// let all: Router = Router::new().nest("/shop", shop);
/// ```
pub struct Router<S = ()> {
    /// Shared, since every request has a clone.
    inner: Arc<Inner<S>>,
}

struct Inner<S> {
    state: Arc<S>,
    table: Table<S>,
    chain: Arc<[Middleware<S>]>,
}

impl Router {
    /// A router without state and without routes.
    pub fn new() -> Self {
        Self::with_state(())
    }
}

impl<S: Send + Sync + 'static> Router<S> {
    /// A router whose handlers share `state`; see [`Request::state`].
    pub fn with_state(state: S) -> Self {
        router_types::add::<Self>();
        let (state, table, chain) = (Arc::new(state), Table::default(), Arc::new([]));
        Self { inner: Arc::new(Inner { state, table, chain }) }
    }

    /// Answers `method` on `path`.
    ///
    /// # Panics
    ///
    /// If the path does not begin with `/` or is not well-formed, if another path matches the same
    /// requests, or if the path has this method already.
    #[must_use]
    #[track_caller]
    pub fn route<H, F>(mut self, method: Method, path: &str, handler: H) -> Self
    where
        H: Fn(Context, Request<S>) -> F + Send + Sync + 'static,
        F: Future<Output: IntoResponse> + Send + 'static,
    {
        self.table().insert(path, method, endpoint(handler));
        self
    }

    /// Answers GET, and HEAD, on `path`; otherwise as [`route`](Self::route).
    ///
    /// # Panics
    ///
    /// As [`route`](Self::route).
    #[must_use]
    #[track_caller]
    pub fn get<H, F>(self, path: &str, handler: H) -> Self
    where
        H: Fn(Context, Request<S>) -> F + Send + Sync + 'static,
        F: Future<Output: IntoResponse> + Send + 'static,
    {
        self.route(Method::GET, path, handler)
    }

    /// Answers POST on `path`; otherwise as [`route`](Self::route).
    ///
    /// # Panics
    ///
    /// As [`route`](Self::route).
    #[must_use]
    #[track_caller]
    pub fn post<H, F>(self, path: &str, handler: H) -> Self
    where
        H: Fn(Context, Request<S>) -> F + Send + Sync + 'static,
        F: Future<Output: IntoResponse> + Send + 'static,
    {
        self.route(Method::POST, path, handler)
    }

    /// Answers PUT on `path`; otherwise as [`route`](Self::route).
    ///
    /// # Panics
    ///
    /// As [`route`](Self::route).
    #[must_use]
    #[track_caller]
    pub fn put<H, F>(self, path: &str, handler: H) -> Self
    where
        H: Fn(Context, Request<S>) -> F + Send + Sync + 'static,
        F: Future<Output: IntoResponse> + Send + 'static,
    {
        self.route(Method::PUT, path, handler)
    }

    /// Answers PATCH on `path`; otherwise as [`route`](Self::route).
    ///
    /// # Panics
    ///
    /// As [`route`](Self::route).
    #[must_use]
    #[track_caller]
    pub fn patch<H, F>(self, path: &str, handler: H) -> Self
    where
        H: Fn(Context, Request<S>) -> F + Send + Sync + 'static,
        F: Future<Output: IntoResponse> + Send + 'static,
    {
        self.route(Method::PATCH, path, handler)
    }

    /// Answers DELETE on `path`; otherwise as [`route`](Self::route).
    ///
    /// # Panics
    ///
    /// As [`route`](Self::route).
    #[must_use]
    #[track_caller]
    pub fn delete<H, F>(self, path: &str, handler: H) -> Self
    where
        H: Fn(Context, Request<S>) -> F + Send + Sync + 'static,
        F: Future<Output: IntoResponse> + Send + 'static,
    {
        self.route(Method::DELETE, path, handler)
    }

    /// Takes over the routes of `inner`, each under `prefix`. They keep their own state and their
    /// own middleware, which runs inside this router's. Its fallback answers what no route matches
    /// under the prefix; 405, and 404 where it has none, are this router's business.
    ///
    /// With an empty prefix they stay where they are: so one route among others, or one method of a
    /// path, has middleware or [limits](Self::limits) of its own.
    ///
    /// # Panics
    ///
    /// As [`route`](Self::route), if the prefix ends with `/`, and if both have a
    /// [fallback](Self::fallback) for the same requests.
    #[must_use]
    #[track_caller]
    pub fn nest<T: Send + Sync + 'static>(mut self, prefix: &str, inner: Router<T>) -> Self {
        check_prefix(prefix);
        let table = self.table();
        for Route { template, methods, any } in &inner.inner.table.routes {
            let path = format!("{prefix}{}", template.path);
            for (method, last) in methods {
                table.insert(&path, method.clone(), inner.endpoint(Arc::clone(last)));
            }
            if let Some(last) = any {
                table.insert_any(&path, inner.endpoint(Arc::clone(last)));
            }
        }
        for fallback in &inner.inner.table.fallbacks {
            let nested = inner.endpoint(Arc::clone(&fallback.endpoint));
            table.insert_fallback(&format!("{prefix}{}", fallback.prefix), nested);
        }
        self
    }

    /// Answers everything at `prefix` and under it with a service: an `axum::Router`, or any other
    /// tower service.
    ///
    /// The service sees the rest of the path alone, and `/` for the prefix itself, with a trailing
    /// slash or without; all of it is in [`OriginalUri`](crate::OriginalUri). It has every method,
    /// and its own 404 and 405. The context that it finds in the request is the one that this
    /// router's middleware passed on.
    ///
    /// A path of this router that is more exact wins, for every method. In access lines the route
    /// is called `prefix` or `prefix/{*rest}`. An error of the service is answered with 500.
    ///
    /// # Panics
    ///
    /// As [`route`](Self::route), and if the prefix ends with `/`.
    ///
    /// # Examples
    ///
    /// ```
    /// use axum::routing::get;
    /// use downhaul_context::Context;
    /// use downhaul_http::{Request, Router};
    ///
    /// let shop = axum::Router::new().route("/orders", get(async || "orders"));
    /// let router = Router::new()
    ///     .get("/health", async |_: Context, _: Request| "fine")
    ///     .nest_service("/shop", shop); // GET /shop/orders
    /// # let _: Router = router;
    /// ```
    #[must_use]
    #[track_caller]
    pub fn nest_service<T>(mut self, prefix: &str, service: T) -> Self
    where
        T: Service<http::Request<Body>> + Clone + Send + Sync + 'static,
        T::Response: IntoResponse,
        T::Error: Into<BoxError>,
        T::Future: Send + 'static,
    {
        check_prefix(prefix);
        let service = mounted(service);
        for path in under(prefix) {
            self.table().insert_any(&path, Arc::clone(&service));
        }
        self
    }

    /// Answers what no route matches, in place of the 404; a method that a path has not is
    /// still a 405. A router that is [nested](Self::nest) does so under its prefix.
    ///
    /// # Panics
    ///
    /// If there is one already.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul_context::Context;
    /// use downhaul_http::{Error, Request, Router};
    ///
    /// async fn moved(_ctx: Context, req: Request) -> Error {
    ///     Error::not_found(format!("{} is not served any more", req.uri().path()))
    /// }
    ///
    /// let router = Router::new().nest("/v1", Router::new().fallback(moved));
    /// # let _: Router = router;
    /// ```
    #[must_use]
    #[track_caller]
    pub fn fallback<H, F>(mut self, handler: H) -> Self
    where
        H: Fn(Context, Request<S>) -> F + Send + Sync + 'static,
        F: Future<Output: IntoResponse> + Send + 'static,
    {
        self.table().insert_fallback("", endpoint(handler));
        self
    }

    /// Wraps everything this router answers, 404 and 405 too, whenever it was added: the first
    /// middleware is the outermost.
    ///
    /// `middleware` is an `async fn(ctx: Context, req: Request<S>, next: Next<S>)` that returns an
    /// answer, its own or that of [`next.run(ctx, req)`](Next::run).
    ///
    /// # Examples
    ///
    /// What it finds out, it binds to the context that it passes on, and what comes after it finds
    /// it by its type:
    ///
    /// ```
    /// use axum_core::response::Response;
    /// use downhaul_context::Context;
    /// use downhaul_http::{Error, Next, Request, Router};
    /// use http::StatusCode;
    ///
    /// struct User(String);
    ///
    /// async fn identify(ctx: Context, req: Request, next: Next) -> Result<Response, Error> {
    ///     let name = req.headers().get("x-user").and_then(|name| name.to_str().ok());
    ///     let unknown = || Error::new(StatusCode::UNAUTHORIZED, "say who you are in `x-user`");
    ///     let user = User(name.ok_or_else(unknown)?.to_owned());
    ///     Ok(next.run(ctx.with_value(user), req).await)
    /// }
    ///
    /// async fn greet(ctx: Context, _req: Request) -> String {
    ///     let User(name) = ctx.value().expect("the router identifies its users");
    ///     format!("hello {name}")
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let router = Router::new().get("/", greet).middleware(identify);
    /// # use http_body_util::BodyExt;
    /// # use tower::ServiceExt;
    /// # let request = http::Request::get("/").header("x-user", "ada");
    /// # let request = request.body(axum::body::Body::empty()).unwrap();
    /// # let body = router.oneshot(request).await.unwrap().into_body();
    /// assert_eq!(body.collect().await.unwrap().to_bytes(), "hello ada");
    /// # }
    /// ```
    #[must_use]
    pub fn middleware<M, F>(mut self, function: M) -> Self
    where
        M: Fn(Context, Request<S>, Next<S>) -> F + Send + Sync + 'static,
        F: Future<Output: IntoResponse> + Send + 'static,
    {
        self.wrap(middleware(function));
        self
    }

    /// Puts everything this router answers under `limits`, as a middleware does: those that were
    /// added before run outside of them.
    #[must_use]
    pub fn limits(mut self, limits: RouteLimits) -> Self {
        let enter: Middleware<S> =
            Arc::new(move |ctx, request, next| match limits.enter(ctx, request.in_flight()) {
                Err(error) => Box::pin(async { error.into_response() }),
                Ok((ctx, None)) => next.start(ctx, request),
                Ok((ctx, Some(permit))) => Box::pin(async move {
                    let _permit = permit;
                    next.start(ctx, request).await
                }),
            });
        self.wrap(enter);
        self
    }

    fn table(&mut self) -> &mut Table<S> {
        &mut Arc::make_mut(&mut self.inner).table
    }

    fn wrap(&mut self, middleware: Middleware<S>) {
        let chain = &mut Arc::make_mut(&mut self.inner).chain;
        *chain = chain.iter().cloned().chain([middleware]).collect();
    }

    /// This router's middleware and state around `last`, for a router of another state.
    fn endpoint<T: 'static>(&self, last: Endpoint<S>) -> Endpoint<T> {
        let (chain, state) = (Arc::clone(&self.inner.chain), Arc::clone(&self.inner.state));
        Arc::new(move |ctx, request: Request<T>| {
            let next = Next::new(Arc::clone(&chain), Arc::clone(&last));
            next.start(ctx, request.with_state(Arc::clone(&state)))
        })
    }

    pub(super) fn answer(&self, request: http::Request<Body>) -> Answering {
        let Inner { state, table, chain } = &*self.inner;
        let (ctx, mut request) = Request::new(request, Arc::clone(state));
        let last = table.find(&mut request);
        if let (Some(in_flight), Some(route)) = (request.in_flight(), request.shared_route()) {
            in_flight.route.get_or_init(|| Arc::clone(route));
        }
        Next::new(Arc::clone(chain), last).start(ctx, request)
    }
}

#[track_caller]
fn check_prefix(prefix: &str) {
    assert!(!prefix.ends_with('/'), "the prefix `{prefix}` ends with `/`: leave it out");
}

impl Default for Router {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Clone for Router<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<S> Clone for Inner<S> {
    fn clone(&self) -> Self {
        let Self { state, table, chain } = self;
        Self { state: Arc::clone(state), table: table.clone(), chain: Arc::clone(chain) }
    }
}

/// Prints the routes.
impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.inner.table.routes.iter().map(Route::words)).finish()
    }
}
