//! Queues and bindings, shared by all links to the broker.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::time::Instant;

use crate::error::{BrokerError, BrokerErrorKind};
use crate::later::later;
use crate::memory::queue::{Queue, QueueDepth};
use crate::message::{Message, Name};
use crate::publish::{Destination, Outgoing, PublishOutcome};
use crate::subscription::Subscription;

#[derive(Debug)]
pub(super) struct Shared {
    topology: RwLock<Topology>,
    /// Counts the cuts: a link opened before the latest is dead.
    epoch: AtomicU64,
    reachable: AtomicBool,
    /// How many messages may wait in a queue.
    most: usize,
}

#[derive(Debug, Default)]
struct Topology {
    // Names are few and short, and so are compared sooner than hashed.
    queues: BTreeMap<Name, Arc<Queue>>,
    bindings: BTreeMap<Name, Vec<Arc<Queue>>>,
}

/// The epoch in which a link was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epoch(u64);

impl Shared {
    pub(super) fn new(most: usize) -> Self {
        Self {
            topology: RwLock::default(),
            epoch: AtomicU64::new(0),
            reachable: AtomicBool::new(true),
            most,
        }
    }

    /// Opens a link.
    pub(super) fn open(&self) -> Result<Epoch, BrokerError> {
        if self.reachable.load(Ordering::Acquire) {
            return Ok(Epoch(self.epoch.load(Ordering::Acquire)));
        }
        let words = "the memory broker is set to be unreachable";
        Err(BrokerError::new(BrokerErrorKind::Unreachable, words))
    }

    pub(super) fn check(&self, epoch: Epoch) -> Result<(), BrokerError> {
        if self.epoch.load(Ordering::Acquire) == epoch.0 {
            return Ok(());
        }
        Err(BrokerError::new(BrokerErrorKind::Unreachable, "the link to the memory broker was cut"))
    }

    /// Declares the queues of a subscription and returns the first.
    pub(super) fn declare(&self, subscription: &Subscription) -> Arc<Queue> {
        let mut topology = self.write();
        if subscription.has_dead_letters() {
            topology.queue(&Name::from(subscription.dead_letter_queue()));
        }
        let name = Name::from(subscription.queue());
        let queue = topology.queue(&name);
        for topic in subscription.topics() {
            let bound = topology.bindings.entry(Name::from(topic)).or_default();
            if !bound.iter().any(|known| Arc::ptr_eq(known, &queue)) {
                bound.push(Arc::clone(&queue));
            }
        }
        queue
    }

    pub(super) fn send(
        &self,
        epoch: Epoch,
        outgoing: &Outgoing,
    ) -> Result<PublishOutcome, BrokerError> {
        self.check(epoch)?;
        let due = (!outgoing.delay.is_zero()).then(|| later(Instant::now(), outgoing.delay));
        let topology = self.read();
        let push = |queue: &Queue, topic: Option<&Name>| {
            queue.push(outgoing.message.clone(), topic.cloned(), due, self.most)
        };
        let (mut routed, mut full) = (false, false);
        match &outgoing.destination {
            Destination::Topic(topic) => {
                for queue in topology.bindings.get(topic).into_iter().flatten() {
                    routed = true;
                    full |= !push(queue, Some(topic));
                }
            }
            Destination::Queue(name) => {
                if let Some(queue) = topology.queues.get(name) {
                    routed = true;
                    full |= !push(queue, None);
                }
            }
        }
        Ok(match (routed, full) {
            (false, _) => {
                let name = outgoing.destination.name();
                PublishOutcome::Returned(format!("no queue takes `{name}`"))
            }
            (true, true) => PublishOutcome::Nacked,
            (true, false) => PublishOutcome::Confirmed,
        })
    }

    pub(super) fn cut(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.read().queues.values().for_each(|queue| queue.wake());
    }

    pub(super) fn set_reachable(&self, reachable: bool) {
        self.reachable.store(reachable, Ordering::Release);
        if !reachable {
            self.cut();
        }
    }

    pub(super) fn depth(&self, queue: &str) -> QueueDepth {
        self.read().queues.get(queue).map(|queue| queue.depth()).unwrap_or_default()
    }

    pub(super) fn ready(&self, queue: &str) -> Vec<Message> {
        self.read().queues.get(queue).map(|queue| queue.ready()).unwrap_or_default()
    }

    pub(super) fn queues(&self) -> Vec<String> {
        self.read().queues.keys().map(ToString::to_string).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Topology> {
        self.topology.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Topology> {
        self.topology.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Topology {
    /// The queue of this name, made if there is none.
    fn queue(&mut self, name: &Name) -> Arc<Queue> {
        Arc::clone(self.queues.entry(name.clone()).or_default())
    }
}
