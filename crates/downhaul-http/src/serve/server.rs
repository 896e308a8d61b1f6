//! [`Server`]: where to listen and under which limits, before it serves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use downhaul_context::Context;
use http_body::Body as HttpBody;
use tower_service::Service;

use crate::error::{BindError, BoxError};
use crate::lifetime::body::Body;
use crate::listen::address::Address;
use crate::listen::listener::Listener;
#[cfg(feature = "tls")]
use crate::listen::tls::Tls;
use crate::observe::{AccessLog, RequestObserver};
use crate::route::router_types::is_router;
use crate::serve::accept::accept;
use crate::serve::http2_limits::Http2Limits;
use crate::serve::hub::Hub;
use crate::serve::limits::{Limits, OnDisconnect};
use crate::serve::running::Running;

/// Where to listen, and the limits to serve under.
///
/// # Examples
///
/// ```
/// use downhaul_context::Context;
/// use downhaul_http::{DrainPlan, Error, Json, Request, Router, Server};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// async fn add(_ctx: Context, req: Request) -> Result<Json<u64>, Error> {
///     Ok(Json(req.param::<u64>("a")? + req.param::<u64>("b")?))
/// }
///
/// let router = Router::new().get("/sum/{a}/{b}", add);
/// let server = Server::bind("127.0.0.1:0").await?.timeout(Duration::from_secs(5));
/// let running = server.serve(Context::background(), router);
///
/// let report = running.drain(DrainPlan::default().without_lame_duck()).await;
/// assert!(report.is_clean());
/// # Ok(()) }
/// ```
#[must_use = "call `serve` to serve"]
pub struct Server {
    listeners: Vec<Listener>,
    limits: Limits,
    observer: Arc<dyn RequestObserver>,
}

impl Server {
    /// Listens on `address`, such as `127.0.0.1:8080` or `unix:/run/orders.sock`; see
    /// [`Listener::bind`], also for the errors.
    ///
    /// # Errors
    ///
    /// [`BindError`], whose text is one line that names the address.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future stops listening.
    pub async fn bind(address: &str) -> Result<Self, BindError> {
        Listener::bind(address).await.map(Self::on)
    }

    /// Takes its connections from `listener`.
    pub fn on(listener: Listener) -> Self {
        let (limits, observer) = (Limits::default(), Arc::new(AccessLog));
        Self { listeners: vec![listener], limits, observer }
    }

    /// Takes connections from this listener, too.
    pub fn and(mut self, listener: Listener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Encrypts what it listens on so far; see [`Listener::tls`].
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        let encrypt = |listener: Listener| listener.tls(tls.clone());
        self.listeners = self.listeners.into_iter().map(encrypt).collect();
        self
    }

    /// Where it listens first, with the port the system chose.
    pub fn address(&self) -> &Address {
        self.listeners[0].address()
    }

    /// How long a request may take: then its context ends and the client reads 504, or 408 where
    /// the body was waited for. An answer that is still sent in pieces is cut. Default: 30 s.
    /// [`Duration::MAX`] means no deadline; for streams alone, [`RouteLimits::no_timeout`] does.
    ///
    /// [`RouteLimits::no_timeout`]: crate::RouteLimits::no_timeout
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limits.timeout = timeout;
        self
    }

    /// How long a request may take where its handler asks for [more time]. Default: no longer than
    /// its [`timeout`](Self::timeout), so that a handler can only ask for less.
    ///
    /// What [`RouteLimits`] grant is an operator's word, and is not bounded by this.
    ///
    /// [more time]: crate::Request::set_timeout
    /// [`RouteLimits`]: crate::RouteLimits
    pub fn max_timeout(mut self, timeout: Duration) -> Self {
        self.limits.max_timeout = timeout;
        self
    }

    /// Whether a client may shorten [`timeout`](Self::timeout) by saying how long it waits.
    /// Default: true.
    ///
    /// Read are `x-request-timeout-ms`, `connect-timeout-ms`, `x-envoy-expected-rq-timeout-ms` and
    /// `grpc-timeout`; of several, the least counts, and what is not valid counts for nothing.
    /// Where it is zero, the client reads 504 and no handler is run.
    pub fn client_budget(mut self, read: bool) -> Self {
        self.limits.client_budget = read;
        self
    }

    /// Whether a client may name its request, by `x-request-id`. Default: true.
    ///
    /// An id that is not fit for logs and headers counts for nothing in any case. Where clients are
    /// anybody, they may give many requests the same id; a proxy in front that sets it takes care
    /// of that as well.
    pub fn client_request_id(mut self, read: bool) -> Self {
        self.limits.client_request_id = read;
        self
    }

    /// The least time that a client may ask for; one that asks for less has this much. Default:
    /// 10 ms. A client that says that it has none is answered with 504 all the same.
    pub fn min_client_budget(mut self, budget: Duration) -> Self {
        self.limits.min_client_budget = budget;
        self
    }

    /// Whether every handler has a task of its own from the start. Default: false, and only those
    /// that are not ready at once, or with their body, have one.
    ///
    /// Otherwise a handler that blocks its thread before it first waits, for something else than a
    /// body that comes with its head, delays the answer at its own deadline. A task costs about as
    /// much as all that hyper does for a request.
    pub fn own_tasks(mut self, always: bool) -> Self {
        self.limits.own_tasks = always;
        self
    }

    /// How long a handler may go on after its context has ended; then it is aborted. Default: 1 s.
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.limits.cancel_grace = grace;
        self
    }

    /// The largest body that is taken, in bytes; beyond it the client reads 413. Default: 2 MiB.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.limits.body_limit = bytes;
        self
    }

    /// How long the next piece of a body may let a handler wait; then the client reads 408.
    /// Default: 10 s.
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.limits.body_timeout = timeout;
        self
    }

    /// How long the head of a request may take from its first byte, and the handshake of TLS. The
    /// connection is closed then. Default: 10 s.
    pub fn header_timeout(mut self, timeout: Duration) -> Self {
        self.limits.header_timeout = timeout;
        self
    }

    /// How long a connection may be without a request before it is closed. Default: 75 s.
    ///
    /// Have it longer than a proxy in front keeps its connections: else a request that the proxy
    /// sends while the server closes is lost, and its client reads 502. nginx and AWS keep them for
    /// 60 s by default.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.limits.idle_timeout = timeout;
        self
    }

    /// How old a connection becomes, up to a tenth more or less, so that those of a restart do not
    /// end together. Then it is closed as in a drain: with the answer to what is begun, or by a
    /// GOAWAY, after which streams end in their own time. Default: 1 h. [`Duration::MAX`] means no
    /// bound.
    ///
    /// Behind a load balancer this is how clients find the servers that have come since. A client
    /// of HTTP/2 that begins a stream more than the time of a head after the GOAWAY does not heed
    /// it, and is closed then, with all that it has begun.
    pub fn max_connection_age(mut self, age: Duration) -> Self {
        self.limits.max_connection_age = age;
        self
    }

    /// How long a client may take nothing of an answer that is on its way; then its connection is
    /// closed, and its requests end as those of a client that is gone. Over HTTP/2 it is a stream
    /// that is reset, where its window has no room for the next 16 KiB. Default: 30 s.
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.limits.write_timeout = timeout;
        self
    }

    /// How many connections are open at once; more wait to be accepted. Default: 10,000.
    ///
    /// # Panics
    ///
    /// When the server serves, if the number is larger than a semaphore can count, which is
    /// `usize::MAX >> 3`.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.limits.connections = connections;
        self
    }

    /// How many connections one address has open at once; more are closed as they come. Default: no
    /// bound, since behind a load balancer all come from one address.
    pub fn max_connections_per_ip(mut self, connections: usize) -> Self {
        self.limits.connections_per_ip = connections;
        self
    }

    /// How large the head of a request may be, in bytes; beyond it the client reads 431.
    /// Default: 16 KiB.
    pub fn max_header_bytes(mut self, bytes: usize) -> Self {
        self.limits.max_header_bytes = bytes;
        self
    }

    /// What bounds each connection of HTTP/2 besides. Default: see [`Http2Limits`].
    pub fn http2(mut self, limits: Http2Limits) -> Self {
        self.limits.http2 = limits;
        self
    }

    /// What becomes of a request whose client went away. Default: [`OnDisconnect::Cancel`].
    pub fn on_disconnect(mut self, policy: OnDisconnect) -> Self {
        self.limits.on_disconnect = policy;
        self
    }

    /// Who makes the spans and writes the access lines. Default: [`AccessLog`].
    pub fn observer(mut self, observer: impl RequestObserver) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// Serves, in the background, until the server is drained or `ctx` ends.
    ///
    /// Every connection's context is a child of `ctx`, and every request's a child of its
    /// connection's. That `ctx` drains stops nothing: its owner calls [`Running::drain`]. Where it
    /// ends, so does every request, with its cause: handlers have their cancel grace, clients read
    /// a 503, and a quarter of a second after that grace every socket is closed.
    ///
    /// The service is cloned for each connection and each request. What it answers with is polled
    /// once where the request was read, and goes on in a task of its own if it is not ready then;
    /// see [`own_tasks`](Self::own_tasks). An `axum::Router` is such a service, and so is
    /// [`Router`](crate::Router).
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O and time enabled.
    pub fn serve<S, B>(self, ctx: Context, service: S) -> Running
    where
        S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (own, canceller) = ctx.derive().label("http").build();
        let hub = Arc::new(Hub::new(own, self.limits, self.observer, is_router::<S>()));
        let places = self.listeners.iter().map(|one| (one.address().clone(), one.url())).collect();
        accept(self.listeners, Arc::clone(&hub), ctx, service);
        Running::new(hub, canceller, places)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("listeners", &self.listeners)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
