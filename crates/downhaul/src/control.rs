//! [`Control`]: probes and the control of consumers over HTTP, on an address of their own.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{ConsumerHandle, Link, Snapshot};
use downhaul_context::{Context, Instant};
use downhaul_http::observe::{Outcome, RequestHead};
use downhaul_http::{
    AccessLog, Address, DrainPlan, Error, Json, Next, Request, RequestObserver, Router, Running,
    Server,
};
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use tracing::Span;

use crate::board::Board;
use crate::error::BoxError;

/// How long a verb waits for the consumer to follow, before it answers with the state reached.
const FOLLOW: Duration = Duration::from_secs(10);

/// Health probes and control of the consumers over HTTP.
///
/// | request | answer |
/// |---|---|
/// | `GET /health/live` | 200 while the process can answer |
/// | `GET /health/ready` | 200, or 503 with the reason |
/// | `GET /consumers` | all consumers: name, state, link, in flight |
/// | `POST /consumers/{name}/{verb}` | the resulting state; 404 with the known names |
///
/// The verbs are `start`, `stop`, `pause`, `resume` and `drain`.
///
/// Reading is open to whoever reaches the address. Changing things is too on a loopback address,
/// where no browser is let in: requests with an `Origin`, or with a `Host` that is not this
/// machine's, are refused. On any other address changing takes a token, and without one the
/// interface is read-only.
#[derive(Debug)]
pub struct Control {
    address: String,
    token: Option<String>,
}

impl Control {
    /// Chooses the address, such as `127.0.0.1:9090`.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), token: None }
    }

    /// Asks for `Authorization: Bearer <token>` to change things, also on a loopback address.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    pub(crate) async fn open(self, ctx: &Context, board: Arc<Board>) -> Result<Open, BoxError> {
        let server = Server::bind(&self.address).await?.timeout(FOLLOW + Duration::from_secs(5));
        let server = server.observer(QuietAccess);
        let guard = Guard { address: server.address().clone(), token: self.token };
        let running = server.serve(ctx.clone(), router(board, guard));
        running.urls().for_each(|url| tracing::info!("control on {url}"));
        Ok(Open { running })
    }
}

/// The control interface of a running app.
pub(crate) struct Open {
    running: Running,
}

impl Open {
    pub(crate) async fn close(self) {
        let short = DrainPlan::within(Duration::from_millis(500)).at_once();
        // What is cut short here is a probe or a verb of an operator, who sees it.
        let _ = self.running.drain(short).await;
    }
}

/// Probes come every few seconds: their lines are for those who look for them. What changes
/// something has a line of its own.
struct QuietAccess;

impl RequestObserver for QuietAccess {
    fn open(&self, ctx: Context, head: &RequestHead<'_>) -> (Context, Span) {
        AccessLog::default().open(ctx, head)
    }

    fn close(&self, span: &Span, outcome: &Outcome<'_>) {
        let (path, status) = (outcome.path, outcome.status.as_u16());
        span.in_scope(|| tracing::debug!(method = %outcome.method, path, status, "asked"));
    }
}

fn router(board: Arc<Board>, guard: Guard) -> Router<Arc<Board>> {
    let guard = Arc::new(guard);
    Router::with_state(board)
        .get("/health/live", live)
        .get("/health/ready", ready)
        .get("/consumers", consumers)
        .post("/consumers/{name}/{verb}", verb)
        .middleware(move |ctx, req, next: Next<Arc<Board>>| {
            let guard = Arc::clone(&guard);
            async move {
                guard.check(&req)?;
                Ok::<_, Error>(next.run(ctx, req).await)
            }
        })
}

async fn live(_ctx: Context, _req: Request<Arc<Board>>) -> Json<Value> {
    Json(json!({ "status": "live" }))
}

async fn ready(_ctx: Context, req: Request<Arc<Board>>) -> (StatusCode, Json<Value>) {
    match req.state().not_ready() {
        None => (StatusCode::OK, Json(json!({ "status": "ready" }))),
        Some(reason) => {
            let body = json!({ "status": "not ready", "reason": reason });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body))
        }
    }
}

async fn consumers(_ctx: Context, req: Request<Arc<Board>>) -> Json<Vec<Shown>> {
    Json(req.state().consumers().iter().map(Shown::new).collect())
}

async fn verb(ctx: Context, req: Request<Arc<Board>>) -> Result<Json<Shown>, Error> {
    let consumer = find(&req)?;
    let verb = req.param::<String>("verb")?;
    match verb.as_str() {
        "start" => consumer.start(),
        "stop" => consumer.stop(),
        "pause" => consumer.pause(),
        "resume" => consumer.resume(),
        "drain" => consumer.drain(),
        "abort" => consumer.abort(),
        "restart" => consumer.restart(),
        _ => {
            let known = "start, stop, pause, resume, drain, abort, restart";
            return Err(Error::not_found(format!("unknown verb `{verb}`; known: {known}")));
        }
    }
    tracing::info!(consumer = consumer.name(), verb, "operator");
    let (following, _canceller) = ctx.with_timeout(FOLLOW);
    // Not there yet is an answer too: the state says how far it has come.
    let _ = following.run(consumer.settled()).await;
    Ok(Json(Shown::new(&consumer)))
}

fn find(req: &Request<Arc<Board>>) -> Result<ConsumerHandle, Error> {
    let name = req.param::<String>("name")?;
    let consumers = req.state().consumers();
    let known: Vec<&str> = consumers.iter().map(ConsumerHandle::name).collect();
    let unknown = || format!("unknown consumer `{name}`; known: {}", known.join(", "));
    let found = consumers.iter().find(|consumer| consumer.name() == name);
    found.cloned().ok_or_else(|| Error::not_found(unknown()))
}

/// A consumer as the interface shows it.
#[derive(Serialize)]
struct Shown {
    name: String,
    state: String,
    link: String,
    /// How much longer it takes nothing, because too much has failed.
    suspended_ms: Option<u128>,
    in_flight: usize,
    buffered: usize,
    /// Failed, and waiting for another attempt.
    waiting: usize,
    processed: u64,
    retried: u64,
    dead_lettered: u64,
    last_error: Option<String>,
}

impl Shown {
    fn new(consumer: &ConsumerHandle) -> Self {
        let Snapshot { status, tally, in_flight, buffered, waiting, last_error, .. } =
            consumer.snapshot();
        let until = |at: Instant| at.saturating_duration_since(Instant::now()).as_millis();
        let link = match status.link {
            Link::Up => "up".to_owned(),
            Link::Recovering { attempt, error, .. } => {
                format!("recovering, attempt {attempt}: {error}")
            }
            _ => "closed".to_owned(),
        };
        Self {
            name: consumer.name().to_owned(),
            state: status.state.to_string(),
            link,
            suspended_ms: status.suspended_until.map(until),
            in_flight: in_flight.len(),
            buffered,
            waiting,
            processed: tally.acked,
            retried: tally.retried,
            dead_lettered: tally.dead_lettered,
            last_error: last_error.map(|last| last.error),
        }
    }
}

/// Who may change things.
struct Guard {
    address: Address,
    token: Option<String>,
}

impl Guard {
    fn check(&self, req: &Request<Arc<Board>>) -> Result<(), Error> {
        let headers = req.headers();
        if self.address.is_local() && !is_this_machine(headers) {
            let words = "the host is not this machine's: use 127.0.0.1 or localhost";
            return Err(Error::new(StatusCode::MISDIRECTED_REQUEST, words));
        }
        if matches!(*req.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
            return Ok(());
        }
        if headers.contains_key(ORIGIN) {
            return Err(Error::new(StatusCode::FORBIDDEN, "not from a browser"));
        }
        match &self.token {
            Some(token) if !bears(headers, token) => {
                let words = "changing things takes the header `Authorization: Bearer <token>`";
                Err(Error::new(StatusCode::UNAUTHORIZED, words))
            }
            None if !self.address.is_local() => {
                let words = "read-only: without a token, only a loopback address takes changes";
                Err(Error::new(StatusCode::FORBIDDEN, words))
            }
            _ => Ok(()),
        }
    }
}

/// A page that a browser loaded under another name may not reach us by resolving that name to this
/// machine.
fn is_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse::<Authority>().ok());
    host.is_none_or(|host| {
        let name = host.host().trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

/// Compares in a time that does not tell how much of the token is right.
fn bears(headers: &HeaderMap, token: &str) -> bool {
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let differences = given.bytes().zip(token.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    given.len() == token.len() && differences == 0
}
