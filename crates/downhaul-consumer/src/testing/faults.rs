//! [`Faults`]: tells a [`FaultyBroker`](super::FaultyBroker) what to do wrong, and what it did.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::message::Name;
use crate::testing::incident::{Fault, Incident};
use crate::testing::plan::Plan;

type Hook = dyn Fn(&Incident) + Send + Sync;

/// Makes a [`FaultyBroker`](super::FaultyBroker) fail: once, by a call that says at what, or at
/// random, by a [`Plan`]. Clones tell the same broker.
///
/// What is ordered waits for the next operation that it can happen to, in the order of the calls,
/// and comes before what a plan would do.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::testing::{Fault, FaultyBroker};
/// use downhaul_consumer::{MemoryBroker, Message, Outgoing, Publisher, PublishErrorKind};
/// use downhaul_context::Context;
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let broker = FaultyBroker::over(Arc::new(MemoryBroker::new()));
/// let faults = broker.faults();
/// faults.nack_publishes(1);
///
/// let publisher = Publisher::new(Arc::new(broker));
/// let outgoing = Outgoing::to_topic("order.created", Message::new("7"));
/// let error = publisher.publish(&Context::background(), outgoing).await.unwrap_err();
/// assert_eq!(error.kind(), PublishErrorKind::Nacked);
/// assert_eq!(faults.incidents()[0].fault, Fault::PublishNacked);
/// # }
/// ```
#[derive(Clone)]
pub struct Faults(Arc<Shared>);

struct Shared {
    /// When the broker was first used. It may be made outside of the runtime, and then it cannot
    /// see the paused clock yet.
    since: OnceLock<Instant>,
    /// Counts how often all links were lost at once: those that have seen another number are dead.
    losses: watch::Sender<u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What was ordered for once.
    orders: VecDeque<(Fault, Duration)>,
    /// After how many more deliveries, and verdicts, a link is lost.
    deliveries_left: Option<usize>,
    verdicts_left: Option<usize>,
    send_takes: Duration,
    settlement_takes: Duration,
    largest: Option<usize>,
    plan: Option<Plan>,
    incidents: Vec<Incident>,
    hooks: Vec<Arc<Hook>>,
}

impl Faults {
    pub(super) fn new() -> Self {
        let (losses, state) = (watch::Sender::new(0), Mutex::default());
        Self(Arc::new(Shared { since: OnceLock::new(), losses, state }))
    }

    /// Loses all links that are open now, of sources and of sinks.
    pub fn lose_links(&self) {
        self.0.losses.send_modify(|losses| *losses += 1);
    }

    /// Loses the link of a source once it has delivered `count` more messages.
    pub fn lose_link_after_deliveries(&self, count: usize) {
        self.state().deliveries_left = Some(count);
    }

    /// Loses the link of a source once the broker has taken `count` more verdicts.
    pub fn lose_link_after_settlements(&self, count: usize) {
        self.state().verdicts_left = Some(count);
    }

    /// Loses the link when the next verdicts are on their way: the handlers have finished, and the
    /// broker does not know.
    pub fn lose_next_settlement(&self) {
        self.order(1, Fault::SettlementLost, Duration::ZERO);
    }

    /// Loses the link when the broker has taken the next verdicts, before it says so.
    pub fn lose_next_settlement_answer(&self) {
        self.order(1, Fault::SettlementUnanswered, Duration::ZERO);
    }

    /// Delivers the next message twice at once, as two deliveries that are settled each by itself.
    /// They may be more than the prefetch by one. The second is the broker's no more: released, it
    /// does not come again.
    pub fn duplicate_next_delivery(&self) {
        self.order(1, Fault::Duplicated, Duration::ZERO);
    }

    /// Holds the next delivery back for so long, and all that comes of its key meanwhile.
    pub fn hold_next_delivery(&self, back_for: Duration) {
        self.order(1, Fault::Delayed, back_for);
    }

    /// Lets the next delivery be overtaken by the one behind it, if that is of another key or has
    /// none, and comes within a second.
    pub fn reorder_next_delivery(&self) {
        self.order(1, Fault::Reordered, Duration::ZERO);
    }

    /// Cannot be reached the next `count` times that a source or a sink is opened.
    pub fn refuse_openings(&self, count: usize) {
        self.order(count, Fault::OpeningRefused, Duration::ZERO);
    }

    /// Answers the next `count` messages that are published with a nack.
    pub fn nack_publishes(&self, count: usize) {
        self.order(count, Fault::PublishNacked, Duration::ZERO);
    }

    /// Loses the next `count` messages that are published, each with its link: their publishers are
    /// told that it is unknown whether they arrived.
    pub fn lose_publishes(&self, count: usize) {
        self.order(count, Fault::PublishLost, Duration::ZERO);
    }

    /// Loses the answers to the next `count` messages that are published, each with its link: the
    /// messages are there, and their publishers are told that it is unknown.
    pub fn lose_answers(&self, count: usize) {
        self.order(count, Fault::AnswerLost, Duration::ZERO);
    }

    /// Lets every send take so long before the broker gets the message; zero for no more.
    pub fn slow_sends(&self, each: Duration) {
        self.state().send_takes = each;
    }

    /// Lets every batch of verdicts take so long before the broker gets it; zero for no more. A
    /// consumer takes a link for lost that takes more than 5 s.
    pub fn slow_settlements(&self, each: Duration) {
        self.state().settlement_takes = each;
    }

    /// Takes no message from now on whose payload and headers have more bytes than that: its
    /// publish is [`Refused`](crate::PublishErrorKind::Refused). What is in a queue already stays
    /// there.
    pub fn refuse_larger_than(&self, largest: usize) {
        self.state().largest = Some(largest);
    }

    /// Lets things go wrong at random from now on.
    pub fn follow(&self, plan: Plan) {
        self.state().plan = Some(plan);
    }

    /// Forgets all that was ordered and planned: nothing goes wrong any more. What is held back
    /// still comes when it is due.
    pub fn heal(&self) {
        let mut state = self.state();
        let (incidents, hooks) =
            (std::mem::take(&mut state.incidents), std::mem::take(&mut state.hooks));
        *state = State { incidents, hooks, ..State::default() };
    }

    /// Calls `hook` for each incident from now on, before anyone can see what follows from it.
    pub fn on_incident(&self, hook: impl Fn(&Incident) + Send + Sync + 'static) {
        self.state().hooks.push(Arc::new(hook));
    }

    /// What went wrong so far, oldest first. A lost link is here once a source notices it.
    pub fn incidents(&self) -> Vec<Incident> {
        self.state().incidents.clone()
    }

    /// Tells a link whether it was lost with all others.
    pub(super) fn losses(&self) -> watch::Receiver<u64> {
        self.0.losses.subscribe()
    }

    /// What goes wrong with the next operation, of what can happen to it.
    pub(super) fn next(&self, possible: &[Fault]) -> Option<(Fault, Duration)> {
        let _first_use = self.since();
        let mut state = self.state();
        let ordered = state.orders.iter().position(|(fault, _)| possible.contains(fault));
        match ordered.and_then(|index| state.orders.remove(index)) {
            Some(order) => Some(order),
            None => state.plan.as_mut()?.draw(possible),
        }
    }

    /// Counts a delivery. Returns whether its link is lost behind it.
    pub(super) fn is_last_delivery(&self) -> bool {
        let mut state = self.state();
        let Some(left) = &mut state.deliveries_left else { return false };
        *left = left.saturating_sub(1);
        let last = *left == 0;
        if last {
            state.deliveries_left = None;
        }
        last
    }

    /// Counts verdicts that are to be settled. Returns how many of them the broker still takes, if
    /// the link is lost behind these.
    pub(super) fn last_verdicts(&self, count: usize) -> Option<usize> {
        let mut state = self.state();
        let left = state.verdicts_left?;
        state.verdicts_left = left.checked_sub(count).filter(|left| *left > 0);
        state.verdicts_left.is_none().then_some(left)
    }

    /// Whether a message of so many bytes is not taken.
    pub(super) fn is_too_large(&self, size: usize) -> bool {
        self.state().largest.is_some_and(|largest| size > largest)
    }

    pub(super) fn send_takes(&self) -> Duration {
        self.state().send_takes
    }

    pub(super) fn settlement_takes(&self) -> Duration {
        self.state().settlement_takes
    }

    /// Logs an incident and tells all hooks.
    pub(super) fn note(&self, fault: Fault, place: Option<&Name>, messages: Vec<String>) {
        let (at, place) = (self.since().elapsed(), place.cloned());
        let incident = Incident { at, fault, place, messages };
        tracing::debug!(%incident, "injected");
        let hooks = {
            let mut state = self.state();
            state.incidents.push(incident.clone());
            state.hooks.clone()
        };
        hooks.iter().for_each(|hook| hook(&incident));
    }

    fn since(&self) -> Instant {
        *self.0.since.get_or_init(Instant::now)
    }

    fn order(&self, count: usize, fault: Fault, takes: Duration) {
        self.state().orders.extend(std::iter::repeat_n((fault, takes), count));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        let (orders, plan) = (&state.orders, &state.plan);
        f.debug_struct("Faults").field("orders", orders).field("plan", plan).finish_non_exhaustive()
    }
}
