//! [`Hub`]: what all connections of a server share.
//!
//! A request touches nothing here: what it counts is its connection's.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use downhaul_context::Context;
use slab::Slab;
use tokio::sync::{Notify, watch};

use crate::lifetime::in_flight::InFlight;
use crate::lifetime::request_info::RequestInfo;
use crate::observe::RequestObserver;
use crate::serve::limits::Limits;
use crate::serve::link::Link;
use crate::serve::tally::{End, Ended, Tally};

/// How far a server has come on its way out. Stages only rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Accepts and answers.
    Serving,
    /// Accepts and answers, and asks clients to come back on another connection.
    LameDuck,
    /// Accepts nothing, finishes what is begun.
    Stopping,
    /// Every socket is closed, whatever it is doing.
    Closed,
}

/// How many requests that are cut short are named. Clients choose how many there are.
const MOST_NAMED: usize = 10_000;

const STAGES: [Stage; 4] = [Stage::Serving, Stage::LameDuck, Stage::Stopping, Stage::Closed];

pub(crate) struct Hub {
    /// The parent of all connections' contexts.
    pub(crate) ctx: Context,
    pub(crate) limits: Limits,
    pub(crate) observer: Arc<dyn RequestObserver>,
    /// Whether the service is a router of ours, and nothing around one.
    pub(crate) serves_router: bool,
    stage: watch::Sender<Stage>,
    /// The same stage once more: requests read it without a lock.
    stage_now: AtomicU8,
    links: Mutex<Links>,
    /// How many links each address has, where that is bounded.
    guests: Mutex<HashMap<IpAddr, usize>>,
    /// The requests that ended after their contexts were ended from here.
    cut_short: Mutex<Vec<RequestInfo>>,
    listening: AtomicBool,
    /// Told when the listeners or the last connection is gone.
    emptied: Notify,
}

/// The connections that are there.
#[derive(Default)]
struct Links {
    slab: Slab<(Weak<Link>, Arc<Tally>)>,
    /// Requests of those that are not.
    before: Ended,
}

impl Hub {
    pub(crate) fn new(
        ctx: Context,
        limits: Limits,
        observer: Arc<dyn RequestObserver>,
        serves_router: bool,
    ) -> Self {
        Self {
            ctx,
            limits,
            observer,
            serves_router,
            stage: watch::Sender::new(Stage::Serving),
            stage_now: AtomicU8::new(Stage::Serving as u8),
            links: Mutex::default(),
            guests: Mutex::default(),
            cut_short: Mutex::default(),
            listening: AtomicBool::new(true),
            emptied: Notify::new(),
        }
    }

    pub(crate) fn raise(&self, stage: Stage) {
        self.mark(stage);
        self.tell(stage);
        if stage == Stage::Closed {
            self.connections().iter().for_each(|link| link.upgraded.close());
        }
    }

    /// For those who look.
    pub(crate) fn mark(&self, stage: Stage) {
        self.stage_now.fetch_max(stage as u8, Ordering::AcqRel);
    }

    /// For those who wait.
    pub(crate) fn tell(&self, stage: Stage) {
        self.stage.send_if_modified(|now| {
            let rises = *now < stage;
            *now = stage.max(*now);
            rises
        });
    }

    pub(crate) fn has_reached(&self, stage: Stage) -> bool {
        self.stage() >= stage
    }

    pub(crate) fn stage(&self) -> Stage {
        STAGES[usize::from(self.stage_now.load(Ordering::Acquire))]
    }

    pub(crate) fn stages(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// Counts a connection of this address, unless it has all that it may have.
    pub(crate) fn admit(&self, address: Option<IpAddr>) -> bool {
        let most = self.limits.connections_per_ip;
        let Some(address) = address.filter(|_| most < usize::MAX) else { return true };
        let mut guests = self.guests();
        let is_admitted = guests.get(&address).copied().unwrap_or_default() < most;
        if is_admitted {
            *guests.entry(address).or_default() += 1;
        }
        is_admitted
    }

    /// Uncounts one that was admitted.
    pub(crate) fn dismiss(&self, address: Option<IpAddr>) {
        let is_bounded = self.limits.connections_per_ip < usize::MAX;
        let Some(address) = address.filter(|_| is_bounded) else { return };
        let mut guests = self.guests();
        if let Entry::Occupied(mut guest) = guests.entry(address) {
            *guest.get_mut() -= 1;
            if *guest.get() == 0 {
                guest.remove();
            }
        }
    }

    pub(crate) fn add_link(&self, link: &Weak<Link>, tally: &Arc<Tally>) -> usize {
        self.links().slab.insert((Weak::clone(link), Arc::clone(tally)))
    }

    pub(crate) fn remove_link(&self, key: usize) {
        let mut links = self.links();
        if let Some((_, tally)) = links.slab.try_remove(key) {
            links.before = links.before.and(tally.ended());
        }
        let last = links.slab.is_empty();
        drop(links);
        if last {
            self.emptied.notify_waiters();
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.links().slab.iter().map(|(_, (_, tally))| tally.in_flight()).sum()
    }

    /// How a request has ended that ends now.
    ///
    /// The clock that ends a drain's grace ends requests before the drain itself wakes up, so what
    /// counts is their context and not the phase.
    pub(crate) fn end_now(&self) -> End {
        match self.stage() {
            Stage::Closed => End::Forced,
            _ if self.ctx.is_done() => End::Cancelled,
            _ => End::Finished,
        }
    }

    /// Keeps the name of a request that is cut short.
    pub(crate) fn name_cut_short(&self, request: RequestInfo) {
        let mut named = self.named();
        if named.len() < MOST_NAMED {
            named.push(request);
        }
    }

    /// The requests that were cut short since the server was started.
    pub(crate) fn cut_short(&self) -> Vec<RequestInfo> {
        self.named().clone()
    }

    fn named(&self) -> MutexGuard<'_, Vec<RequestInfo>> {
        self.cut_short.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The requests that ended since the server was started.
    pub(crate) fn ended(&self) -> Ended {
        let links = self.links();
        let now = links.slab.iter().map(|(_, (_, tally))| tally.ended());
        now.fold(links.before, Ended::and)
    }

    pub(crate) fn requests(&self) -> Vec<Arc<InFlight>> {
        self.connections().iter().flat_map(|link| link.requests()).collect()
    }

    pub(crate) fn connections(&self) -> Vec<Arc<Link>> {
        self.links().slab.iter().filter_map(|(_, (link, _))| link.upgrade()).collect()
    }

    /// The ports are free, and every client that got in has its connection.
    pub(crate) fn closed_listeners(&self) {
        self.listening.store(false, Ordering::Release);
        self.emptied.notify_waiters();
    }

    /// Waits until there is no listener and no connection. A request keeps its own.
    pub(crate) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    fn is_empty(&self) -> bool {
        let listening = self.listening.load(Ordering::Acquire);
        !listening && self.links().slab.is_empty()
    }

    fn guests(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        // Nothing that can panic runs under the lock, so a poisoned one is still whole.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for a stage, or for a later one.
pub(crate) async fn reached(stages: &mut watch::Receiver<Stage>, stage: Stage) {
    if stages.wait_for(|now| *now >= stage).await.is_err() {
        // The hub is gone, and with it whoever could raise the stage.
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::AccessLog;

    #[test]
    fn addresses_that_are_let_in_never_are_not_remembered() {
        let limits = Limits { connections_per_ip: 0, ..Limits::default() };
        let hub = Hub::new(Context::background(), limits, Arc::new(AccessLog), false);
        for host in 0..100 {
            assert!(!hub.admit(Some([127, 0, 0, host].into())));
        }
        assert_eq!(hub.guests().len(), 0);
    }
}
