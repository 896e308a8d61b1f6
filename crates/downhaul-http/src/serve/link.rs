//! [`Link`]: one connection as its requests and its clocks see it.
//!
//! # Invariants
//!
//! 1. The context of the connection ends when the link is dropped: after the socket and after the
//!    last request, so that a request that outlives its client is not cancelled by it.
//! 2. What is upgraded holds the link, and the link holds it: the end of the socket takes it out.
//! 3. Nothing is dropped and no waker runs under the lock.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;

use downhaul_context::{Canceller, Context, Instant, RequestId};
use http::Method;
use slab::Slab;
use smol_str::SmolStr;
use tokio::sync::OwnedSemaphorePermit;

use crate::lifetime::in_flight::InFlight;
use crate::listen::address::Address;
use crate::serve::connection_info::{ConnectionInfo, ConnectionPhase};
use crate::serve::hub::{Hub, Stage};
use crate::serve::preface::Protocol;
use crate::serve::tally::{End, Tally};
use crate::serve::upgraded::Upgraded;

/// While a server stops, a connection without a request may be silent for so long before it is
/// closed: time enough for the rest of a head that is on its way.
const QUIET: Duration = Duration::from_secs(1);

pub(crate) struct Link {
    pub(crate) hub: Arc<Hub>,
    pub(crate) ctx: Context,
    pub(crate) peer: Address,
    /// `https` or `http`.
    pub(crate) scheme: &'static str,
    pub(crate) upgraded: Upgraded,
    key: usize,
    /// What its client speaks, once it has said so. HTTP/2 talks without requests; only idleness is
    /// timed there.
    protocol: OnceLock<Protocol>,
    /// The last answer was sent before all of its request had come.
    unread_body: AtomicBool,
    requests: Mutex<Requests>,
    tally: Arc<Tally>,
    /// There is more of an answer whose end is that of the connection, as it is over HTTP/1.0.
    ends_answer: AtomicBool,
    /// An answer was handed over and has not all been written yet.
    unflushed: AtomicBool,
    /// How far the head of the next request has come; see [`NO_HEAD`].
    head: AtomicU8,
    /// The client takes no more of what there is to write.
    is_stuck: AtomicBool,
    /// When an HTTP/2 client was told to begin no more streams.
    told_to_go: OnceLock<Instant>,
    /// It has begun one long after.
    overstays: AtomicBool,
    opened: Instant,
    /// When there was last a request: nanoseconds after it was opened.
    idle_at: AtomicU64,
    times: Mutex<Times>,
    _canceller: Canceller,
    _permit: OwnedSemaphorePermit,
}

/// The requests in flight.
#[derive(Default)]
struct Requests {
    slab: Slab<Weak<InFlight>>,
    /// Whom to wake when the last of them ends.
    at_rest: Option<Waker>,
}

/// No byte has come since there was last a request.
const NO_HEAD: u8 = 0;
/// Bytes have come, and nobody has looked since.
const NEW_HEAD: u8 = 1;
/// Its time runs, from [`Times::head_since`].
const TIMED_HEAD: u8 = 2;

/// When what is rare has begun, as far as somebody has looked.
#[derive(Default)]
struct Times {
    head_since: Option<Instant>,
    stuck_since: Option<Instant>,
    /// When bytes last moved. Kept only while the server stops.
    moved: Option<Instant>,
}

impl Link {
    /// Opens one that was [admitted](Hub::admit).
    pub(crate) fn open(
        hub: Arc<Hub>,
        peer: Address,
        scheme: &'static str,
        permit: OwnedSemaphorePermit,
    ) -> Arc<Self> {
        let (ctx, canceller) = hub.ctx.derive().label("connection").build();
        let tally = Arc::<Tally>::default();
        Arc::new_cyclic(|link| Self {
            key: hub.add_link(link, &tally),
            hub,
            ctx,
            peer,
            scheme,
            upgraded: Upgraded::default(),
            protocol: OnceLock::new(),
            unread_body: AtomicBool::new(false),
            requests: Mutex::default(),
            tally,
            ends_answer: AtomicBool::new(false),
            unflushed: AtomicBool::new(false),
            head: AtomicU8::new(NO_HEAD),
            is_stuck: AtomicBool::new(false),
            told_to_go: OnceLock::new(),
            overstays: AtomicBool::new(false),
            opened: Instant::now(),
            idle_at: AtomicU64::new(0),
            times: Mutex::default(),
            _canceller: canceller,
            _permit: permit,
        })
    }

    pub(crate) fn begin_request(
        self: &Arc<Self>,
        started: Instant,
        id: RequestId,
        method: Method,
        line: SmolStr,
    ) -> Arc<InFlight> {
        self.head.store(NO_HEAD, Ordering::Relaxed);
        if self.time_to_go().is_some_and(|end| end < started) {
            self.overstays.store(true, Ordering::Relaxed);
        }
        let mut requests = self.requests_now();
        self.tally.begin();
        let link = Arc::clone(self);
        Arc::new_cyclic(|request| {
            let key = requests.slab.insert(Weak::clone(request));
            InFlight::new(link, key, started, id, method, line)
        })
    }

    pub(crate) fn end_request(&self, key: usize, end: End) {
        let mut requests = self.requests_now();
        requests.slab.try_remove(key);
        self.tally.end(end);
        let waker = if self.is_busy() { None } else { requests.at_rest.take() };
        drop(requests);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes `waker` when the last request has ended, which may be long after its answer and in no
    /// turn of the connection; false where there is none.
    pub(super) fn wake_at_rest(&self, waker: &Waker) -> bool {
        let mut requests = self.requests_now();
        let is_busy = self.is_busy();
        let before = is_busy.then(|| requests.at_rest.replace(waker.clone()));
        drop(requests);
        drop(before);
        is_busy
    }

    pub(crate) fn requests(&self) -> Vec<Arc<InFlight>> {
        self.requests_now().slab.iter().filter_map(|(_, request)| request.upgrade()).collect()
    }

    /// Whether it has more requests than it may have streams. A stream is over when it is reset,
    /// and its handler may run on for a while.
    pub(crate) fn is_crowded(&self) -> bool {
        let most = self.hub.limits.http2.max_concurrent_streams as usize;
        self.is_multiplexed() && self.tally.in_flight() > most
    }

    /// Whether the only request that it can have at a time is there.
    pub(crate) fn is_answering_one(&self) -> bool {
        self.is_busy() && !self.is_multiplexed() && !self.upgraded.is_kept()
    }

    fn is_busy(&self) -> bool {
        self.tally.in_flight() > 0
    }

    pub(crate) fn info(&self) -> ConnectionInfo {
        ConnectionInfo {
            peer: self.peer.clone(),
            age: self.opened.elapsed(),
            phase: self.phase(),
            requests: self.tally.in_flight(),
        }
    }

    fn phase(&self) -> ConnectionPhase {
        match self.protocol.get() {
            _ if self.upgraded.is_kept() => ConnectionPhase::Upgraded,
            Some(Protocol::Http2) => ConnectionPhase::Http2,
            Some(Protocol::Http1) => ConnectionPhase::Http1,
            None => ConnectionPhase::Opening,
        }
    }

    /// Said once, when its first bytes have come.
    pub(crate) fn speak(&self, protocol: Protocol) {
        let _ = self.protocol.set(protocol);
        if protocol == Protocol::Http2 {
            self.head.store(NO_HEAD, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_multiplexed(&self) -> bool {
        self.protocol.get() == Some(&Protocol::Http2)
    }

    /// Said once, when an HTTP/2 client is told to begin no more streams.
    pub(crate) fn tell_to_go(&self) {
        let _ = self.told_to_go.set(Instant::now());
    }

    /// When a client that was told to go should have heard of it: after the time of a head.
    fn time_to_go(&self) -> Option<Instant> {
        self.told_to_go.get()?.checked_add(self.hub.limits.header_timeout)
    }

    pub(crate) fn answered(&self, unread_body: bool) {
        self.unread_body.store(unread_body, Ordering::Relaxed);
    }

    pub(crate) fn has_unread_body(&self) -> bool {
        self.unread_body.load(Ordering::Relaxed)
    }

    pub(crate) fn set_ends_answer(&self, ends: bool) {
        self.ends_answer.store(ends, Ordering::Relaxed);
    }

    /// Whether half an answer would look whole if the connection ended now.
    pub(crate) fn ends_answer(&self) -> bool {
        self.ends_answer.load(Ordering::Relaxed)
    }

    /// The body of an answer is with hyper, which may not have written it yet.
    pub(crate) fn handed_over(&self, now: Instant) {
        self.idle_from(now);
        self.unflushed.store(true, Ordering::Release);
    }

    fn idle_from(&self, now: Instant) {
        let after = now.saturating_duration_since(self.opened).as_nanos();
        self.idle_at.store(u64::try_from(after).unwrap_or(u64::MAX), Ordering::Release);
    }

    pub(crate) fn flushed(&self) {
        self.unflushed.store(false, Ordering::Release);
    }

    /// The client takes no more for now.
    pub(crate) fn stuck(&self) {
        self.is_stuck.store(true, Ordering::Relaxed);
        self.times().stuck_since.get_or_insert_with(Instant::now);
    }

    /// Whether the socket has no room. That of a stream is another matter.
    pub(crate) fn is_stuck(&self) -> bool {
        self.is_stuck.load(Ordering::Relaxed)
    }

    /// The client takes more again.
    pub(crate) fn unstuck(&self) {
        self.is_stuck.store(false, Ordering::Relaxed);
        self.times().stuck_since = None;
    }

    /// The handshake that came before everything else is done.
    pub(crate) fn greeted(&self) {
        self.idle_from(Instant::now());
        self.head.store(NO_HEAD, Ordering::Relaxed);
        self.times().head_since = None;
    }

    pub(crate) fn bytes_came(&self) {
        let is_first = self.head.load(Ordering::Relaxed) == NO_HEAD;
        if is_first && !self.is_busy() && !self.is_multiplexed() {
            self.head.store(NEW_HEAD, Ordering::Relaxed);
        }
        self.bytes_moved();
    }

    pub(crate) fn bytes_moved(&self) {
        if self.hub.has_reached(Stage::Stopping) {
            self.times().moved = Some(Instant::now());
        }
    }

    /// Whether the connection may be due sooner than it was at the last look, or is to look for
    /// the next stage at each turn. Neither is so while requests come and go whole.
    pub(crate) fn is_urgent(&self) -> bool {
        self.head.load(Ordering::Relaxed) != NO_HEAD
            || self.is_stuck()
            || self.overstays.load(Ordering::Relaxed)
            || self.hub.has_reached(Stage::LameDuck)
    }

    /// When the connection is to be closed if nothing happens; `None` while it has a request, of
    /// which the client takes the answer.
    pub(crate) fn due(&self) -> Option<Instant> {
        if self.overstays.load(Ordering::Relaxed) {
            return self.time_to_go();
        }
        let limits = &self.hub.limits;
        let mut times = self.times();
        self.time_head(&mut times);
        if self.is_busy() || self.unflushed.load(Ordering::Acquire) {
            return times.stuck_since?.checked_add(limits.write_timeout);
        }
        let idle_since = self.opened + Duration::from_nanos(self.idle_at.load(Ordering::Acquire));
        let idle = idle_since.checked_add(limits.idle_timeout);
        let late = times.head_since.and_then(|since| since.checked_add(limits.header_timeout));
        let stops = self.hub.has_reached(Stage::Stopping);
        let quiet = stops.then(|| times.moved.map_or(idle_since, |at| at.max(idle_since)) + QUIET);
        // What a client of HTTP/2 says without a request is waited for no longer than a head.
        let told = self.told_to_go.get().map(|told| idle_since.max(*told));
        let last = told.and_then(|since| since.checked_add(limits.header_timeout));
        [idle.filter(|_| late.is_none()), late, quiet, last].into_iter().flatten().min()
    }

    /// Not every request is looked at: the head that is there may be another than at the last look.
    fn time_head(&self, times: &mut Times) {
        match self.head.load(Ordering::Relaxed) {
            NO_HEAD => times.head_since = None,
            NEW_HEAD => {
                self.head.store(TIMED_HEAD, Ordering::Relaxed);
                times.head_since = Some(Instant::now());
            }
            _ => {}
        }
    }

    fn requests_now(&self) -> MutexGuard<'_, Requests> {
        // Nothing that can panic runs under the lock, so a poisoned one is still whole.
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.hub.dismiss(self.peer.ip());
        self.hub.remove_link(self.key);
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("peer", &self.peer).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use tokio::sync::Semaphore;
    use tokio::time::advance;

    use super::*;
    use crate::observe::AccessLog;
    use crate::serve::limits::Limits;

    /// Counts how often it is woken.
    #[derive(Default)]
    pub(in crate::serve) struct Woken(pub(in crate::serve) AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    pub(in crate::serve) async fn link() -> Arc<Link> {
        let limits = Limits { write_timeout: Duration::from_secs(10), ..Limits::default() };
        let hub = Arc::new(Hub::new(Context::background(), limits, Arc::new(AccessLog), false));
        let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        Link::open(hub, Address::Memory, "http", permit)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_a_little_has_the_whole_time_again() {
        let (link, seconds) = (link().await, Duration::from_secs);
        let begun = Instant::now();
        link.handed_over(begun);
        assert_eq!(link.due(), None);
        link.stuck();
        advance(seconds(6)).await;
        link.stuck();
        assert_eq!(link.due(), Some(begun + seconds(10)));
        link.unstuck();
        assert_eq!(link.due(), None);
        link.stuck();
        assert_eq!(link.due(), Some(begun + seconds(16)));
    }
}
