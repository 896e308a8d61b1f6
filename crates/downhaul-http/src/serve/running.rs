//! [`Running`]: a server that serves, and the way to stop it.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use downhaul_context::{Canceller, Instant, Reason};
use tokio::time::timeout;
use tracing::info;

use crate::lifetime::request_info::RequestInfo;
use crate::listen::address::Address;
use crate::serve::connection_info::ConnectionInfo;
use crate::serve::drain::{DrainPlan, DrainReport};
use crate::serve::hub::{Hub, Stage, reached};
use crate::serve::tally::Ended;

/// A server that serves.
///
/// Stop it with [`drain`](Self::drain). Dropping it instead closes every socket and ends every
/// request's context at once. The end of the context that the server was given does so too, but
/// that answers are still written.
#[must_use = "dropping it closes the server"]
pub struct Running {
    hub: Arc<Hub>,
    canceller: Canceller,
    /// The addresses and URLs of its listeners; never empty.
    places: Vec<(Address, String)>,
    /// When the drain began, and the requests that had ended before.
    drain: OnceLock<(Instant, Ended)>,
    /// What was in flight when the sockets were closed.
    forced: OnceLock<Vec<RequestInfo>>,
}

impl Running {
    pub(crate) fn new(hub: Arc<Hub>, canceller: Canceller, places: Vec<(Address, String)>) -> Self {
        Self { hub, canceller, places, drain: OnceLock::new(), forced: OnceLock::new() }
    }

    /// The address of the first listener, with the port the system chose.
    pub fn address(&self) -> &Address {
        &self.places[0].0
    }

    /// Where clients find each of its listeners; see [`Listener::url`](crate::Listener::url).
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|(_, url)| url.as_str())
    }

    /// The number of requests whose handler runs or whose answer is being sent.
    pub fn in_flight(&self) -> usize {
        self.hub.in_flight()
    }

    /// All requests in flight, oldest first; for a debug page.
    ///
    /// It takes the lock of each connection for a moment, and holds up none for longer.
    pub fn snapshot(&self) -> Vec<RequestInfo> {
        let mut requests: Vec<_> =
            self.hub.requests().iter().map(|request| request.info()).collect();
        requests.sort_by_key(|request| std::cmp::Reverse(request.age));
        requests
    }

    /// The requests that a drain has cut short so far: those that ended after the server had ended
    /// their contexts, as they were then. Of more than 10,000, these.
    pub fn cut_short(&self) -> Vec<RequestInfo> {
        self.hub.cut_short()
    }

    /// All connections, oldest first; for a debug page. As cheap as [`snapshot`](Self::snapshot).
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        let mut connections: Vec<_> =
            self.hub.connections().iter().map(|link| link.info()).collect();
        connections.sort_by_key(|connection| std::cmp::Reverse(connection.age));
        connections
    }

    /// Serves on as a lame duck for a while: as before, but that it asks clients to come back on
    /// another connection. It is what [`drain`](Self::drain) begins with, here on its own for those
    /// who have something to do between the two.
    ///
    /// Returns sooner only if the server is closed meanwhile.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the server stays a lame duck.
    pub async fn lame_duck(&self, time: Duration) {
        self.begin_to_drain();
        self.hub.raise(Stage::LameDuck);
        let mut stages = self.hub.stages();
        let _ = timeout(time, reached(&mut stages, Stage::Closed)).await;
    }

    /// Stops the server by `plan` and says how it went.
    ///
    /// 1. Lame duck: it accepts and answers as before, and asks HTTP/1 clients to come back on
    ///    another connection.
    /// 2. It accepts nothing new; idle connections close, what is begun may finish. Requests'
    ///    contexts are draining from here on.
    /// 3. The contexts of what is left end with `CauseKind::DrainGraceOver`; clients read 503.
    /// 4. Handlers are aborted, sockets closed.
    ///
    /// Each phase ends early when there is nothing left to wait for, except the lame duck. A second
    /// call goes on from the phase that was reached, and its report is about both.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the server stays in the phase it reached; call again to go on.
    pub async fn drain(&self, plan: DrainPlan) -> DrainReport {
        let (began, before) = self.begin_to_drain();
        if !self.hub.has_reached(Stage::Stopping) && !plan.lame_duck.is_zero() {
            self.lame_duck(plan.lame_duck).await;
        }
        self.canceller.drain_with(plan.finish, Reason::cancelled("the server drains"));
        self.hub.raise(Stage::Stopping);
        self.empty_within(plan.finish).await;

        self.hub.requests().iter().for_each(|request| request.remember());
        self.canceller.cancel_with(Reason::cancelled("the server drained for too long"));
        self.empty_within(plan.cancel_grace).await;

        let forced = self.force(plan.force).await;
        let Ended { finished, cancelled } = self.hub.ended().since(before);
        let (cut_short, took) = (self.cut_short(), began.elapsed());
        let report = DrainReport { finished, cancelled, cut_short, forced, took };
        info!(address = %self.address(), "server {report}");
        report
    }

    fn begin_to_drain(&self) -> (Instant, Ended) {
        *self.drain.get_or_init(|| (Instant::now(), self.hub.ended()))
    }

    async fn force(&self, patience: Duration) -> Vec<RequestInfo> {
        let left = self.hub.requests();
        let names = || left.iter().map(|request| request.info()).collect();
        let forced = self.forced.get_or_init(names);
        // From here on what ends is one of these.
        self.hub.raise(Stage::Closed);
        left.iter().for_each(|request| request.abort());
        drop(left);
        self.empty_within(patience).await;
        forced.clone()
    }

    async fn empty_within(&self, patience: Duration) {
        // What is left after that is for the next phase.
        let _ = timeout(patience, self.hub.empty()).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // First: a request that is closed without a cause is one whose client has left.
        self.canceller.cancel_with(Reason::cancelled("the server was dropped"));
        self.hub.raise(Stage::Closed);
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("address", self.address())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use downhaul_context::Context;

    use super::*;
    use crate::observe::AccessLog;
    use crate::serve::limits::Limits;

    #[test]
    fn the_requests_of_one_that_is_dropped_have_a_cause_before_its_sockets_are_closed() {
        let (ctx, canceller) = Context::root();
        let hub = Hub::new(ctx.clone(), Limits::default(), Arc::new(AccessLog), false);
        let hub = Arc::new(hub);
        let (found, watched) = (Arc::<OnceLock<Stage>>::default(), Arc::clone(&hub));
        let seen = Arc::clone(&found);
        let _registration = ctx.on_done(move |_| seen.set(watched.stage()).unwrap());
        drop(Running::new(hub, canceller, vec![(Address::Memory, String::new())]));
        assert_eq!(found.get(), Some(&Stage::Serving));
    }
}
