//! [`Link`]: one connection as its requests see it.
//!
//! # Invariants
//!
//! 1. The context of the connection ends when the link is dropped: after the socket and after the
//!    last request, so that a request that outlives its client is not cancelled by it.
//! 2. What is upgraded holds the link, and the link holds it: the end of the socket takes it out.
//! 3. Nothing is dropped and no waker runs under the lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::Waker;

use downhaul_context::{Canceller, Context, Instant, RequestId};
use http::Method;
use slab::Slab;
use smol_str::SmolStr;
use tokio::sync::OwnedSemaphorePermit;

use crate::lifetime::in_flight::InFlight;
use crate::listen::address::Address;
use crate::serve::clocks::Clocks;
use crate::serve::connection_info::{ConnectionInfo, ConnectionPhase};
use crate::serve::hub::{Hub, Stage};
use crate::serve::preface::Protocol;
use crate::serve::tally::{End, Tally};
use crate::serve::upgraded::Upgraded;

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
    pub(crate) clocks: Clocks,
    /// There is more of an answer whose end is that of the connection, as it is over HTTP/1.0.
    ends_answer: AtomicBool,
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
            clocks: Clocks::begin(),
            ends_answer: AtomicBool::new(false),
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
        self.clocks.begin_request(started, &self.hub.limits);
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

    pub(super) fn is_busy(&self) -> bool {
        self.tally.in_flight() > 0
    }

    pub(crate) fn info(&self) -> ConnectionInfo {
        ConnectionInfo {
            peer: self.peer.clone(),
            age: self.clocks.age(),
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
            self.clocks.forget_head();
        }
    }

    pub(crate) fn is_multiplexed(&self) -> bool {
        self.protocol.get() == Some(&Protocol::Http2)
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

    pub(crate) fn bytes_came(&self) {
        if !self.is_busy() && !self.is_multiplexed() {
            self.clocks.begin_head();
        }
        self.bytes_moved();
    }

    pub(crate) fn bytes_moved(&self) {
        if self.hub.has_reached(Stage::Stopping) {
            self.clocks.bytes_moved();
        }
    }

    /// Whether the connection may be due sooner than it was at the last look, or is to look for
    /// the next stage at each turn. Neither is so while requests come and go whole.
    pub(crate) fn is_urgent(&self) -> bool {
        self.clocks.is_urgent() || self.hub.has_reached(Stage::LameDuck)
    }

    /// When the connection is to be closed if nothing happens; `None` while it has a request, of
    /// which the client takes the answer.
    pub(crate) fn due(&self) -> Option<Instant> {
        let stops = self.hub.has_reached(Stage::Stopping);
        self.clocks.due(&self.hub.limits, self.is_busy(), stops)
    }

    fn requests_now(&self) -> MutexGuard<'_, Requests> {
        // Nothing that can panic runs under the lock, so a poisoned one is still whole.
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
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
    use std::time::Duration;

    use tokio::sync::Semaphore;

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
}
