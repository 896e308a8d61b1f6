//! Queues and bindings, shared by all links to the broker.
//!
//! One lock over everything, held only for moves between collections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::{BrokerError, BrokerErrorKind};
use crate::memory::queue::{Queue, QueueDepth, Stored};
use crate::message::Message;
use crate::publish::{Destination, Outgoing, PublishOutcome};
use crate::subscription::Subscription;

#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queues: BTreeMap<String, Queue>,
    bindings: BTreeMap<String, BTreeSet<String>>,
    /// Counts the cuts: a link opened before the latest is dead.
    epoch: u64,
    unreachable: bool,
}

/// The epoch in which a link was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epoch(u64);

impl Shared {
    /// Opens a link.
    pub(super) fn open(&self) -> Result<Epoch, BrokerError> {
        let state = self.lock();
        if state.unreachable {
            let words = "the memory broker is set to be unreachable";
            return Err(BrokerError::new(BrokerErrorKind::Unreachable, words));
        }
        Ok(Epoch(state.epoch))
    }

    /// Declares the queues of a subscription and returns what tells of news in the first.
    pub(super) fn declare(&self, subscription: &Subscription) -> Arc<Notify> {
        let mut state = self.lock();
        let queue = subscription.queue();
        for topic in subscription.topics() {
            state.bindings.entry(topic.to_owned()).or_default().insert(queue.to_owned());
        }
        state.queues.entry(subscription.dead_letter_queue()).or_default();
        Arc::clone(&state.queues.entry(queue.to_owned()).or_default().news)
    }

    pub(super) fn send(
        &self,
        epoch: Epoch,
        outgoing: &Outgoing,
    ) -> Result<PublishOutcome, BrokerError> {
        let mut state = self.lock();
        state.check(epoch)?;
        let name = outgoing.destination.name();
        let queues: Vec<String> = match outgoing.destination {
            Destination::Topic(_) => {
                state.bindings.get(name).into_iter().flatten().cloned().collect()
            }
            Destination::Queue(_) => {
                state.queues.contains_key(name).then(|| name.to_owned()).into_iter().collect()
            }
        };
        if queues.is_empty() {
            return Ok(PublishOutcome::Returned(format!("no queue takes `{name}`")));
        }
        let due = (!outgoing.delay.is_zero()).then(|| Instant::now() + outgoing.delay);
        for queue in queues {
            state.queues.entry(queue).or_default().push(outgoing.message.clone(), due);
        }
        Ok(PublishOutcome::Confirmed)
    }

    /// Takes the next message of a queue, or says when one is due that is held back.
    pub(super) fn pop(&self, epoch: Epoch, queue: &str) -> Result<Popped, BrokerError> {
        let mut state = self.lock();
        state.check(epoch)?;
        let queue = state.queues.entry(queue.to_owned()).or_default();
        Ok(match queue.pop(Instant::now()) {
            Some(stored) => Popped::Message(stored),
            None => Popped::Nothing { next_due: queue.next_due() },
        })
    }

    pub(super) fn check(&self, epoch: Epoch) -> Result<(), BrokerError> {
        self.lock().check(epoch)
    }

    /// A message is done with.
    pub(super) fn forget(&self, queue: &str) {
        if let Some(queue) = self.lock().queues.get_mut(queue) {
            queue.unsettled -= 1;
        }
    }

    /// A message was not processed.
    pub(super) fn put_back(&self, queue: &str, stored: Stored) {
        if let Some(queue) = self.lock().queues.get_mut(queue) {
            queue.put_back(stored);
        }
    }

    pub(super) fn cut(&self) {
        let mut state = self.lock();
        state.epoch += 1;
        state.queues.values().for_each(|queue| queue.news.notify_waiters());
    }

    pub(super) fn set_reachable(&self, reachable: bool) {
        self.lock().unreachable = !reachable;
        if !reachable {
            self.cut();
        }
    }

    pub(super) fn depth(&self, queue: &str) -> QueueDepth {
        self.lock().queues.get(queue).map(Queue::depth).unwrap_or_default()
    }

    pub(super) fn ready(&self, queue: &str) -> Vec<Message> {
        let state = self.lock();
        state.queues.get(queue).into_iter().flat_map(Queue::ready).cloned().collect()
    }

    pub(super) fn queues(&self) -> Vec<String> {
        self.lock().queues.keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&self, epoch: Epoch) -> Result<(), BrokerError> {
        if self.epoch == epoch.0 {
            return Ok(());
        }
        Err(BrokerError::new(BrokerErrorKind::Unreachable, "the link to the memory broker was cut"))
    }
}

/// What a queue had to give.
pub(super) enum Popped {
    Message(Stored),
    Nothing { next_due: Option<Instant> },
}
