//! [`Options`]: what a [`RabbitMq`](crate::RabbitMq) was told, and [`QueueType`].

use std::time::Duration;

use crate::credentials::Provider;
use crate::largest::Largest;
use crate::topology::{Queue, Topology};

/// How RabbitMQ keeps the queues that are declared.
///
/// A queue keeps its type for life: to change it, give the queue another name or delete it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum QueueType {
    /// On one node, durable.
    #[default]
    Classic,
    /// Replicated with Raft over the nodes of a cluster, and safe on the way back from a delay.
    Quorum,
}

/// What each connection, channel and queue is made with.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) exchange: String,
    pub(crate) queue_type: QueueType,
    pub(crate) topology: Topology,
    /// Nothing is declared.
    pub(crate) passive: bool,
    pub(crate) connect_timeout: Duration,
    pub(crate) connection_name: String,
    /// In place of those of the URL.
    pub(crate) credentials: Option<Provider>,
    /// How many publishes may wait for the broker's answer at a time.
    pub(crate) window: usize,
    pub(crate) largest: Largest,
    /// The broker's, where a queue has none of its own.
    pub(crate) consumer_timeout: Duration,
}

impl Options {
    /// How long RabbitMQ waits for the verdict on a message of this queue, as far as we know.
    pub(crate) fn consumer_timeout_of(&self, queue: &str) -> Duration {
        let of_queue = self.topology.find_queue(queue).and_then(Queue::consumer_timeout);
        of_queue.unwrap_or(self.consumer_timeout)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            exchange: "downhaul".to_owned(),
            queue_type: QueueType::default(),
            topology: Topology::default(),
            passive: false,
            connect_timeout: Duration::from_secs(5),
            connection_name: "downhaul".to_owned(),
            credentials: None,
            window: 1_000,
            largest: Largest::default(),
            consumer_timeout: Duration::from_secs(30 * 60),
        }
    }
}
