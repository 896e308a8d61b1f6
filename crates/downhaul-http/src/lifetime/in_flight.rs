//! [`InFlight`]: one request from its head to the end of its answer and of its handler.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use downhaul_context::{Canceller, Context, Instant, Reason, RequestId};
use http::{Method, Uri};
use smol_str::SmolStr;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::lifetime::request_info::{Phase, RequestInfo};
use crate::serve::hub::Stage;
use crate::serve::limits::OnDisconnect;
use crate::serve::link::Link;
use crate::serve::tally::End;

/// Shared by the connection, the handler's task and the bodies; the last of them takes it out of
/// the registry.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) id: RequestId,
    pub(crate) method: Method,
    /// What its context is called: the method, a space and the path.
    ///
    /// A copy: what hyper has read a head into is not used again while a part of it is held.
    pub(crate) line: SmolStr,
    pub(crate) started: Instant,
    pub(crate) route: OnceLock<Arc<str>>,
    pub(crate) link: Arc<Link>,
    pub(crate) key: usize,
    task: OnceLock<AbortHandle>,
    /// Told once, when the handler is over.
    handled: Notify,
    stage: AtomicU8,
    upload: AtomicU8,
    /// Whether its answer was cut by other than its own body.
    is_cut: AtomicBool,
    /// The client takes no more of the answer, as far as this stream goes.
    is_stalled: AtomicBool,
    body_limit: AtomicUsize,
    /// How long its client waits, where it has said so and counts.
    budget: OnceLock<Duration>,
    overrides: Mutex<Overrides>,
    /// Told when it was granted another time.
    granted: Notify,
    /// What it was doing when a drain ended its context.
    when_cut_short: OnceLock<Box<RequestInfo>>,
}

/// What its route and its handler have set in place of the server's.
#[derive(Debug, Default)]
struct Overrides {
    cancel_grace: Option<Duration>,
    on_disconnect: Option<OnDisconnect>,
    /// How long its route lets it take.
    timeout: Option<Duration>,
    /// The last context that was granted.
    // Before the canceller: a context that nobody holds any more needs no ending.
    granted: Option<Context>,
    /// The parent of all that were granted. It has no deadline: one that was granted lives on when
    /// another is, to its own deadline, for whoever still works under it.
    lifetime: Option<Arc<(Context, Canceller)>>,
}

/// What the request's body was last seen doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Upload {
    /// Nobody waits for it.
    Idle,
    /// The handler waits for the next piece.
    Awaited,
    /// All of it was read, or there is none.
    Complete,
    /// It did not arrive in time.
    Stalled,
    /// It is larger than the limit.
    TooLarge,
    /// The client left in the middle of it.
    Lost,
}

const UPLOADS: [Upload; 6] = [
    Upload::Idle,
    Upload::Awaited,
    Upload::Complete,
    Upload::Stalled,
    Upload::TooLarge,
    Upload::Lost,
];

const HANDLING: u8 = 0;
const ANSWERING: u8 = 1;
const CANCELLED: u8 = 2;
const UPGRADED: u8 = 3;

impl InFlight {
    pub(crate) fn new(
        link: Arc<Link>,
        key: usize,
        started: Instant,
        id: RequestId,
        method: Method,
        line: SmolStr,
    ) -> Self {
        let body_limit = AtomicUsize::new(link.hub.limits.body_limit);
        Self {
            id,
            method,
            line,
            started,
            route: OnceLock::new(),
            link,
            key,
            task: OnceLock::new(),
            handled: Notify::new(),
            stage: AtomicU8::new(HANDLING),
            upload: AtomicU8::new(Upload::Idle as u8),
            is_cut: AtomicBool::new(false),
            is_stalled: AtomicBool::new(false),
            body_limit,
            budget: OnceLock::new(),
            overrides: Mutex::default(),
            granted: Notify::new(),
            when_cut_short: OnceLock::new(),
        }
    }

    /// The path without the query.
    pub(crate) fn path(&self) -> &str {
        &self.line[self.method.as_str().len() + 1..]
    }

    pub(crate) fn body_limit(&self) -> usize {
        self.body_limit.load(Ordering::Relaxed)
    }

    pub(crate) fn set_body_limit(&self, bytes: usize) {
        self.body_limit.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn set_rules(&self, grace: Option<Duration>, on_disconnect: Option<OnDisconnect>) {
        let mut overrides = self.overrides();
        overrides.cancel_grace = grace.or(overrides.cancel_grace);
        overrides.on_disconnect = on_disconnect.or(overrides.on_disconnect);
    }

    pub(crate) fn cancel_grace(&self) -> Duration {
        self.overrides().cancel_grace.unwrap_or(self.link.hub.limits.cancel_grace)
    }

    pub(crate) fn on_disconnect(&self) -> OnDisconnect {
        self.overrides().on_disconnect.unwrap_or(self.link.hub.limits.on_disconnect)
    }

    /// What its client has said of the time that it waits.
    pub(crate) fn set_budget(&self, budget: Duration) {
        self.budget.get_or_init(|| budget);
    }

    /// As [`grant`](Self::grant), by the words of an operator.
    pub(crate) fn grant_by_route(&self, ctx: &Context, timeout: Duration) -> Context {
        self.overrides().timeout = Some(timeout);
        self.grant(ctx, timeout)
    }

    /// As [`grant`](Self::grant), within what the operator lets a handler have.
    pub(crate) fn grant_by_handler(&self, ctx: &Context, timeout: Duration) -> Context {
        let limits = &self.link.hub.limits;
        let ruled = self.overrides().timeout.unwrap_or(limits.timeout);
        self.grant(ctx, timeout.min(limits.max_timeout.max(ruled)))
    }

    /// A context with the values of `ctx` that ends `timeout` after the request began, in place of
    /// the one that it has had. What has ended is not begun again.
    fn grant(&self, ctx: &Context, timeout: Duration) -> Context {
        if ctx.is_done() {
            return ctx.clone();
        }
        let timeout = self.budget.get().map_or(timeout, |budget| timeout.min(*budget));
        let lifetime = self.lifetime();
        let mut child = lifetime.0.derive().label(self.line.clone());
        if let Some(at) = self.started.checked_add(timeout) {
            child = child.deadline(at);
        }
        let (granted, canceller) = child.build();
        canceller.disarm();
        let granted = granted.with_values_of(ctx);
        let stale = self.overrides().granted.replace(granted.clone());
        drop(stale);
        self.granted.notify_one();
        granted
    }

    fn lifetime(&self) -> Arc<(Context, Canceller)> {
        let known = self.overrides().lifetime.clone();
        known.unwrap_or_else(|| {
            let fresh = Arc::new(self.link.ctx.derive().build());
            // Somebody may have been faster; nobody has seen the other one then.
            Arc::clone(self.overrides().lifetime.get_or_insert_with(|| Arc::clone(&fresh)))
        })
    }

    /// Waits until it is granted another time; for one waiter.
    pub(crate) async fn granted(&self) {
        self.granted.notified().await;
    }

    /// The context that it was granted last.
    pub(crate) fn granted_ctx(&self) -> Option<Context> {
        self.overrides().granted.clone()
    }

    /// Ends all contexts that it was granted.
    pub(crate) fn end_granted(&self, reason: Reason) {
        let lifetime = self.overrides().lifetime.clone();
        if let Some(lifetime) = lifetime {
            lifetime.1.cancel_with(reason);
        }
    }

    /// Its answer and its handler are over, which is the end of its contexts.
    pub(crate) fn over(&self) {
        self.end_granted(Reason::cancelled("the request is over"));
    }

    fn overrides(&self) -> MutexGuard<'_, Overrides> {
        // Nothing that can panic runs under the lock, so a poisoned one is still whole.
        self.overrides.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn handled_by(&self, task: AbortHandle) {
        self.task.get_or_init(|| task);
    }

    /// Waits for the end of the handler; for one waiter.
    pub(crate) async fn handled(&self) {
        self.handled.notified().await;
    }

    pub(crate) fn abort(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    pub(crate) fn answering(&self) {
        self.stage.fetch_max(ANSWERING, Ordering::Relaxed);
    }

    pub(crate) fn cancelled(&self) {
        self.stage.store(CANCELLED, Ordering::Relaxed);
    }

    pub(crate) fn upgraded(&self) {
        self.stage.store(UPGRADED, Ordering::Relaxed);
    }

    /// Its answer is about to be dropped, since nothing of it may be sent any more.
    pub(crate) fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
    }

    /// The same, since the client takes nothing of it.
    pub(crate) fn stall(&self) {
        self.is_stalled.store(true, Ordering::Relaxed);
        self.cut();
    }

    /// Whether it ends since the client takes nothing of its answer.
    pub(crate) fn is_stuck(&self) -> bool {
        self.is_stalled.load(Ordering::Relaxed) || self.link.clocks.has_given_up()
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    pub(crate) fn set_upload(&self, upload: Upload) {
        self.upload.store(upload as u8, Ordering::Release);
    }

    /// Nobody waits for the client to go on with its body.
    pub(crate) fn stop_awaiting(&self) {
        let (from, to) = (Upload::Awaited as u8, Upload::Idle as u8);
        let _ = self.upload.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed);
    }

    pub(crate) fn upload(&self) -> Upload {
        UPLOADS[usize::from(self.upload.load(Ordering::Acquire))]
    }

    /// Whether its handler waits for the body, and is given up with its client.
    pub(crate) fn is_reading(&self) -> bool {
        self.upload() == Upload::Awaited && self.on_disconnect() == OnDisconnect::Cancel
    }

    pub(crate) fn info(&self) -> RequestInfo {
        RequestInfo {
            id: self.id.clone(),
            method: self.method.clone(),
            path: self.path().to_owned(),
            route: self.route.get().cloned(),
            peer: self.link.peer.clone(),
            age: self.started.elapsed(),
            remaining: self.remaining(),
            phase: self.phase(),
        }
    }

    /// Remembers what it is doing, since its context is about to end.
    pub(crate) fn remember(&self) {
        self.when_cut_short.get_or_init(|| Box::new(self.info()));
    }

    fn remaining(&self) -> Option<Duration> {
        let ends_at = match self.granted_ctx() {
            Some(granted) => granted.ends_at(),
            None => self.ends_at(),
        };
        ends_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// When the context ends that it was begun with, which it does not hold itself.
    fn ends_at(&self) -> Option<Instant> {
        let timeout = self.link.hub.limits.bounded(self.budget.get().copied());
        let deadline = self.started.checked_add(timeout);
        deadline.into_iter().chain(self.link.ctx.ends_at()).min()
    }

    fn phase(&self) -> Phase {
        match (self.stage.load(Ordering::Relaxed), self.upload()) {
            (CANCELLED, _) => Phase::Cancelled,
            (UPGRADED, _) => Phase::Upgraded,
            (ANSWERING, _) => Phase::Answering,
            (_, Upload::Awaited) => Phase::ReadingBody,
            _ => Phase::Handling,
        }
    }
}

/// What the request's context is called.
pub(crate) fn line(method: &Method, uri: &Uri) -> SmolStr {
    [method.as_str(), " ", uri.path()].into_iter().collect()
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let hub = &self.link.hub;
        let is_cut_off = self.is_stuck() && hub.has_reached(Stage::Stopping);
        let end = match hub.end_now() {
            End::Finished if is_cut_off => End::Cancelled,
            end => end,
        };
        if end == End::Cancelled {
            let was = self.when_cut_short.take();
            hub.name_cut_short(was.map_or_else(|| self.info(), |was| *was));
        }
        self.link.end_request(self.key, end);
    }
}

/// Held by a handler's task; dropped when the handler has ended, panicked or was aborted.
pub(crate) struct Handling(pub(crate) Arc<InFlight>);

impl Drop for Handling {
    fn drop(&mut self) {
        self.0.handled.notify_one();
    }
}
