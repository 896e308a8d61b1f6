//! [`HttpServer`]: a server as a component.

use std::fmt;
use std::future::ready;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use downhaul_context::{Context, Instant};
use downhaul_http::{
    Address, Body, Connector, DrainPlan, DrainReport, Listener, RequestInfo, Running, Server,
};
use http_body::Body as HttpBody;
use tower_service::Service;

use super::resource::Provided;
use crate::component::Component;
use crate::error::BoxError;
use crate::telemetry::HttpSpans;

/// The part of the grace, at most, in which requests that did not finish are answered with 503.
const LAST_PART: Duration = Duration::from_secs(1);

/// As much of it at least, when there is no time left.
const LEAST: Duration = Duration::from_millis(100);

/// How long a server goes on to accept, unless it is told otherwise.
pub(crate) const LAME_DUCK: Duration = Duration::from_millis(250);

type Configure = Box<dyn Fn(Server) -> Server + Send + Sync>;
type Serve = Box<dyn Fn(Server, Context) -> Running + Send>;
type Opening = Pin<Box<dyn Future<Output = Result<Vec<Listener>, BoxError>> + Send>>;
type Open = Box<dyn Fn() -> Opening + Send + Sync>;

/// What a server binds, each time it starts.
enum Bind {
    Address(String),
    Listeners(Open),
}

/// Serves HTTP. Stopping waits for the requests in flight. It can be started again.
pub struct HttpServer {
    bind: Bind,
    configure: Configure,
    serve: Mutex<Serve>,
    lame_duck: Duration,
    address: Provided<Address>,
    /// The server of this life.
    running: RwLock<Option<Arc<Running>>>,
    /// What did not finish, once the server has stopped.
    unfinished: Mutex<Option<Vec<String>>>,
}

impl HttpServer {
    /// Makes a component of an address and a service: a [`Router`](downhaul_http::Router), an
    /// `axum::Router`, or any other tower service. The address is bound when the app starts.
    pub fn new<S, B>(address: impl Into<String>, service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let serve = move |server: Server, ctx| server.serve(ctx, service.clone());
        Self::with(Bind::Address(address.into()), Box::new(serve))
    }

    /// Makes a component of listeners and a service: for several addresses at once, or for sockets
    /// that somebody else has opened. `open` is called at each start; an error of it, or no
    /// listener at all, is a failed start.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul::HttpServer;
    /// use downhaul::http::{Listener, Router};
    ///
    /// let both = || async {
    ///     let public = Listener::bind("0.0.0.0:8080").await?;
    ///     Ok(vec![public, Listener::bind("unix:/run/orders.sock").await?])
    /// };
    /// let server = HttpServer::listening(both, Router::new());
    /// # drop(server);
    /// ```
    pub fn listening<F, S, B>(open: impl Fn() -> F + Send + Sync + 'static, service: S) -> Self
    where
        F: Future<Output = Result<Vec<Listener>, BoxError>> + Send + 'static,
        S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let serve = move |server: Server, ctx| server.serve(ctx, service.clone());
        Self::with(Bind::Listeners(Box::new(move || Box::pin(open()))), Box::new(serve))
    }

    /// Makes a component that listens in the memory of this process, and the way to connect to it:
    /// for tests without ports, also under tokio's paused clock.
    pub fn in_memory<S, B>(service: S) -> (Self, Connector)
    where
        S: Service<http::Request<Body>, Response = http::Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (_, connector) = Listener::in_memory();
        let door = connector.clone();
        (Self::listening(move || ready(Ok(vec![door.listen()])), service), connector)
    }

    fn with(bind: Bind, serve: Serve) -> Self {
        Self {
            bind,
            configure: Box::new(|server| server),
            serve: Mutex::new(serve),
            lame_duck: LAME_DUCK,
            address: Provided::default(),
            running: RwLock::default(),
            unfinished: Mutex::default(),
        }
    }

    /// Sets limits and timeouts of the server, over those that were set before. Called at each
    /// start.
    #[must_use]
    pub fn configure(
        mut self,
        configure: impl Fn(Server) -> Server + Send + Sync + 'static,
    ) -> Self {
        let before = self.configure;
        self.configure = Box::new(move |server| configure(before(server)));
        self
    }

    /// How long the server goes on to accept when it is told to stop. At most half of its share of
    /// the grace.
    ///
    /// In this time clients that are at it are told with their answers to come no more on this
    /// connection, so that none of them sends a request into a socket that closes: that is what the
    /// default of a quarter of a second is for. Behind a load balancer, make it as long as that
    /// takes to see that the service is not ready.
    #[must_use]
    pub fn lame_duck(mut self, lame_duck: Duration) -> Self {
        self.lame_duck = lame_duck;
        self
    }

    /// Where the address is had that the server listens on, once it has started.
    pub fn address(&self) -> Provided<Address> {
        self.address.clone()
    }

    fn running(&self) -> Option<Arc<Running>> {
        self.running.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn unfinished(&self) -> MutexGuard<'_, Option<Vec<String>>> {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Component for HttpServer {
    async fn start(&self, ctx: &Context) -> Result<(), BoxError> {
        let server = (self.configure)(self.bind.open().await?.observer(HttpSpans::default()));
        let serve = self.serve.lock().unwrap_or_else(PoisonError::into_inner);
        let running = serve(server, ctx.clone());
        running.urls().for_each(|url| tracing::info!("listening on {url}"));
        self.address.set(Some(running.address().clone()));
        *self.unfinished() = None;
        *self.running.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(running));
        Ok(())
    }

    async fn lame_duck(&self) {
        if let Some(running) = self.running() {
            running.lame_duck(self.lame_duck).await;
        }
    }

    async fn stop(&self, ctx: &Context) -> String {
        let Some(running) = self.running() else { return String::new() };
        let drain = || running.drain(plan(ctx));
        let DrainReport { finished, cut_short, forced, .. } = tokio::select! {
            biased;
            report = drain() => report,
            // Sooner than that was planned: it goes on with what is left.
            _ = ctx.done() => drain().await,
        };
        *self.unfinished() = Some(forced.iter().map(line).chain(cut(&cut_short)).collect());
        let requests = if finished == 1 { "request" } else { "requests" };
        format!("{finished} {requests} finished while stopping")
    }

    fn in_flight(&self) -> Vec<String> {
        if let Some(lines) = &*self.unfinished() {
            return lines.clone();
        }
        let Some(running) = self.running() else { return Vec::new() };
        // In this order: what ends in between is in the second list.
        let in_flight = running.snapshot();
        in_flight.iter().map(line).chain(cut(&running.cut_short())).collect()
    }

    fn can_restart(&self) -> bool {
        true
    }

    fn is_at_work(&self) -> bool {
        self.running().is_some_and(|running| running.in_flight() > 0)
    }
}

impl Bind {
    async fn open(&self) -> Result<Server, BoxError> {
        match self {
            Self::Address(address) => Ok(Server::bind(address).await?),
            Self::Listeners(open) => {
                let mut listeners = open().await?.into_iter();
                let first = listeners.next().ok_or("there is no socket to listen on")?;
                Ok(listeners.fold(Server::on(first), Server::and))
            }
        }
    }
}

impl fmt::Debug for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Listeners(_) => f.write_str("listeners of the program's"),
        }
    }
}

/// Finishing may take what is left of the grace, but for a last part in which clients still read
/// that they were cut short. When the context has ended there is but the last part.
fn plan(ctx: &Context) -> DrainPlan {
    let left = ctx.ends_at().map(|at| at.saturating_duration_since(Instant::now()));
    let left = left.unwrap_or_else(|| DrainPlan::default().finish);
    let last_part = LAST_PART.min(left / 4).max(LEAST);
    let finish = if ctx.is_done() { Duration::ZERO } else { left.saturating_sub(last_part) };
    DrainPlan::default()
        .without_lame_duck()
        .finish(finish)
        .cancel_grace(last_part / 2)
        .force(last_part / 2)
}

fn cut(requests: &[RequestInfo]) -> impl Iterator<Item = String> {
    requests.iter().map(|request| format!("{}: cut short", line(request)))
}

fn line(request: &RequestInfo) -> String {
    let RequestInfo { method, path, id, age, .. } = request;
    format!("{method} {path}, request_id={id}, after {:.2} s", age.as_secs_f64())
}

impl fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpServer").field("bind", &self.bind).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_whose_time_is_over_has_a_moment_for_its_answers() {
        let (ctx, _canceller) = Context::background().with_timeout(Duration::ZERO);
        let plan = plan(&ctx);
        assert_eq!((plan.finish, plan.cancel_grace), (Duration::ZERO, LEAST / 2));
    }
}
