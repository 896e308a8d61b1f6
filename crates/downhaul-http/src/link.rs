//! [`Link`]: one connection as its requests and its clocks see it.
//!
//! # Invariants
//!
//! 1. The context of the connection ends when the link is dropped: after the socket and after the
//!    last request, so that a request that outlives its client is not cancelled by it.
//! 2. What is upgraded holds the link, and the link holds it: the end of the socket takes it out.
//! 3. Nothing is dropped and no waker runs under the lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use downhaul_context::{Canceller, Context, Instant, RequestId};
use http::Method;
use slab::Slab;
use tokio::sync::OwnedSemaphorePermit;

use crate::address::Address;
use crate::hub::{Hub, Stage};
use crate::in_flight::InFlight;
use crate::upgraded::Upgraded;

/// While a server stops, a connection without a request may be silent for so long before it is
/// closed: time enough for the rest of a head that is on its way.
const QUIET: Duration = Duration::from_secs(1);

pub(crate) struct Link {
    pub(crate) hub: Arc<Hub>,
    pub(crate) ctx: Context,
    pub(crate) peer: Address,
    key: usize,
    /// An HTTP/2 connection talks without requests; only idleness is timed there.
    multiplexed: AtomicBool,
    /// The last answer was sent before all of its request had come.
    unread_body: AtomicBool,
    pub(crate) upgraded: Upgraded,
    traffic: Mutex<Traffic>,
    _canceller: Canceller,
    _permit: OwnedSemaphorePermit,
}

struct Traffic {
    requests: Slab<Weak<InFlight>>,
    /// When there was last a request, or the connection began.
    idle_since: Instant,
    /// When the first byte came after that.
    head_since: Option<Instant>,
    /// When bytes last moved. Kept only while the server stops.
    moved: Instant,
    /// An answer was handed over and has not all been written yet.
    unflushed: bool,
    /// Since when the client has taken nothing of what there is to write.
    stuck_since: Option<Instant>,
}

impl Link {
    /// Opens one that was [admitted](Hub::admit).
    pub(crate) fn open(hub: Arc<Hub>, peer: Address, permit: OwnedSemaphorePermit) -> Arc<Self> {
        let (ctx, canceller) = hub.ctx.derive().label("connection").build();
        let now = Instant::now();
        let traffic = Traffic {
            requests: Slab::new(),
            idle_since: now,
            head_since: None,
            moved: now,
            unflushed: false,
            stuck_since: None,
        };
        Arc::new_cyclic(|link| Self {
            key: hub.add_link(link),
            hub,
            ctx,
            peer,
            multiplexed: AtomicBool::new(false),
            unread_body: AtomicBool::new(false),
            upgraded: Upgraded::default(),
            traffic: Mutex::new(traffic),
            _canceller: canceller,
            _permit: permit,
        })
    }

    pub(crate) fn begin_request(
        self: &Arc<Self>,
        id: RequestId,
        method: Method,
        line: Arc<str>,
    ) -> Arc<InFlight> {
        self.hub.count_request();
        let mut traffic = self.traffic();
        let link = Arc::clone(self);
        Arc::new_cyclic(|request| {
            let key = traffic.requests.insert(Weak::clone(request));
            InFlight::new(link, key, id, method, line)
        })
    }

    pub(crate) fn end_request(&self, key: usize) {
        let mut traffic = self.traffic();
        traffic.requests.try_remove(key);
        if traffic.requests.is_empty() {
            traffic.idle_since = Instant::now();
            traffic.moved = traffic.idle_since;
            traffic.head_since = None;
        }
        drop(traffic);
        self.hub.uncount_request();
    }

    pub(crate) fn requests(&self) -> Vec<Arc<InFlight>> {
        self.traffic().requests.iter().filter_map(|(_, request)| request.upgrade()).collect()
    }

    /// Whether it has more requests than it may have streams. A stream is over when it is reset,
    /// and its handler may run on for a while.
    pub(crate) fn is_crowded(&self) -> bool {
        let most = self.hub.limits.streams as usize;
        self.multiplexed.load(Ordering::Relaxed) && self.traffic().requests.len() > most
    }

    /// Whether the only request that it can have at a time is there.
    pub(crate) fn is_answering_one(&self) -> bool {
        let is_one = !self.multiplexed.load(Ordering::Relaxed) && !self.upgraded.is_kept();
        is_one && !self.traffic().requests.is_empty()
    }

    pub(crate) fn multiplex(&self) {
        self.multiplexed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self, unread_body: bool) {
        self.unread_body.store(unread_body, Ordering::Relaxed);
    }

    pub(crate) fn has_unread_body(&self) -> bool {
        self.unread_body.load(Ordering::Relaxed)
    }

    /// The body of an answer is with hyper, which may not have written it yet.
    pub(crate) fn handed_over(&self) {
        self.traffic().unflushed = true;
    }

    pub(crate) fn flushed(&self) {
        self.traffic().unflushed = false;
    }

    /// The client takes no more for now.
    pub(crate) fn stuck(&self) {
        self.traffic().stuck_since.get_or_insert_with(Instant::now);
    }

    /// The client takes more again.
    pub(crate) fn unstuck(&self) {
        self.traffic().stuck_since = None;
    }

    /// The handshake that came before everything else is done.
    pub(crate) fn greeted(&self) {
        let mut traffic = self.traffic();
        traffic.idle_since = Instant::now();
        traffic.head_since = None;
    }

    pub(crate) fn bytes_came(&self) {
        let mut traffic = self.traffic();
        if traffic.requests.is_empty() && traffic.head_since.is_none() {
            traffic.head_since = Some(Instant::now());
        }
        drop(traffic);
        self.bytes_moved();
    }

    pub(crate) fn bytes_moved(&self) {
        if self.hub.has_reached(Stage::Stopping) {
            self.traffic().moved = Instant::now();
        }
    }

    /// When the connection is to be closed if nothing happens; `None` while it has a request, of
    /// which the client takes the answer.
    pub(crate) fn due(&self) -> Option<Instant> {
        let limits = &self.hub.limits;
        let traffic = self.traffic();
        if !traffic.requests.is_empty() || traffic.unflushed {
            return traffic.stuck_since?.checked_add(limits.write_timeout);
        }
        let idle = traffic.idle_since.checked_add(limits.idle_timeout);
        let head = traffic.head_since.filter(|_| !self.multiplexed.load(Ordering::Relaxed));
        let late = head.and_then(|since| since.checked_add(limits.head_timeout));
        let quiet = self.hub.has_reached(Stage::Stopping).then(|| traffic.moved + QUIET);
        [idle.filter(|_| late.is_none()), late, quiet].into_iter().flatten().min()
    }

    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        // Nothing that can panic runs under the lock, so a poisoned one is still whole.
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
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
mod tests {
    use tokio::sync::Semaphore;
    use tokio::time::advance;

    use super::*;
    use crate::limits::Limits;
    use crate::observe::AccessLog;

    async fn link() -> Arc<Link> {
        let limits = Limits { write_timeout: Duration::from_secs(10), ..Limits::default() };
        let hub = Arc::new(Hub::new(Context::background(), limits, Arc::new(AccessLog), false));
        let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        Link::open(hub, Address::Memory, permit)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_a_little_has_the_whole_time_again() {
        let (link, seconds) = (link().await, Duration::from_secs);
        let begun = Instant::now();
        link.handed_over();
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
