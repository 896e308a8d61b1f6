//! [`Control`]: probes and control over HTTP, on an address of their own.

mod components;
mod consumers;
mod guard;
mod health;
mod metrics;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use downhaul_context::{Context, TraceContext};
use downhaul_http::observe::{Outcome, RequestHead};
use downhaul_http::{DrainPlan, Error, Next, RequestObserver, Router, Running, Server};
use tracing::Span;

use self::guard::Guard;
use crate::error::BoxError;
use crate::handle::AppHandle;

/// How long a verb waits for what it asks to be so, before it answers with the state reached.
const FOLLOW: Duration = Duration::from_secs(10);

/// Health probes and control of components and consumers over HTTP.
///
/// | request | answer |
/// |---|---|
/// | `GET /health/live` | 200 while the process can answer |
/// | `GET /health/startup` | 200 once the app has started, or 503 with the reason |
/// | `GET /health/ready` | 200, with what is degraded, or 503 with the reason |
/// | `GET /metrics` | the metrics for Prometheus; 404 unless the [telemetry] has this page |
/// | `GET /components` | all components: name, state, last error, needs, whether it can restart |
/// | `POST /components/{name}/{verb}` | the resulting state; 404 with the known names, 409 |
/// | `GET /consumers` | all consumers: name, component, state, link, in flight |
/// | `POST /consumers/{name}/{verb}` | the resulting state; 404 with the known names, 409 |
/// | `POST /consumers/{name}/dead-letters/replay?limit=100` | how many were put back |
///
/// The verbs of a component are `start`, `stop` and `restart`: what needs it stops before it. What
/// cannot be started again is stopped only by `stop?force=true`. The verbs of a consumer are
/// `start`, `stop`, `pause`, `resume`, `drain`, `abort` and `restart`. Where several consumers have
/// one name, each has that of its component.
///
/// Reading is open to whoever reaches the address. Changing things is too on a loopback address,
/// but for requests with an `Origin`: those of browsers. There a `Host` that is not this machine's
/// is a 421, also for who reads: a page that has its name resolved to this machine would see the
/// addresses and errors that the answers have. On any other address changing takes a token, and
/// without one the interface is read-only.
///
/// [telemetry]: crate::TelemetryBuilder::metrics_page
pub struct Control {
    address: String,
    token: Option<String>,
}

impl Control {
    /// Chooses the address, such as `127.0.0.1:9090`.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), token: None }
    }

    /// Asks for `Authorization: Bearer <token>` to change things, also on a loopback address. With
    /// an empty token nobody changes anything.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    pub(crate) async fn open(self, ctx: &Context, app: AppHandle) -> Result<Open, BoxError> {
        let server = Server::bind(&self.address).await?.timeout(FOLLOW + Duration::from_secs(5));
        let server = server.observer(QuietAccess);
        let guard = Guard { address: server.address().clone(), token: self.token };
        let running = server.serve(ctx.clone(), router(app, guard));
        running.urls().for_each(|url| tracing::info!("control on {url}"));
        Ok(Open { running })
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "<redacted>");
        f.debug_struct("Control").field("address", &self.address).field("token", &token).finish()
    }
}

/// The control interface of a running app.
pub(crate) struct Open {
    running: Running,
}

impl Open {
    pub(crate) async fn close(self, within: Duration) {
        let short = DrainPlan::within(within).without_lame_duck();
        // What is cut short here is a probe or a verb of an operator, who sees it.
        let _ = self.running.drain(short).await;
    }
}

/// Probes come every few seconds: their lines and spans are for those who look for them. What
/// changes something has a line of its own.
struct QuietAccess;

impl RequestObserver for QuietAccess {
    fn open(&self, head: &RequestHead<'_>) -> (Span, Option<TraceContext>) {
        (tracing::debug_span!("http.request", request_id = %head.id), None)
    }

    fn close(&self, span: &Span, outcome: &Outcome<'_>) {
        let (path, status) = (outcome.path, outcome.status.as_u16());
        span.in_scope(|| tracing::debug!(method = %outcome.method, path, status, "asked"));
    }
}

fn router(app: AppHandle, guard: Guard) -> Router<AppHandle> {
    let guard = Arc::new(guard);
    Router::with_state(app)
        .get("/health/live", health::live)
        .get("/health/startup", health::startup)
        .get("/health/ready", health::ready)
        .get("/metrics", metrics::page)
        .get("/components", components::list)
        .post("/components/{name}/{verb}", components::verb)
        .get("/consumers", consumers::list)
        .post("/consumers/{name}/{verb}", consumers::verb)
        .post("/consumers/{name}/dead-letters/replay", consumers::replay)
        .middleware(move |ctx, req, next: Next<AppHandle>| {
            let guard = Arc::clone(&guard);
            async move {
                guard.check(&req)?;
                Ok::<_, Error>(next.run(ctx, req).await)
            }
        })
}
