//! [`MemoryBroker`]: the broker that is there when no other is, and the reference for what the
//! traits mean.

mod queue;
mod sink;
mod source;
mod state;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use downhaul_context::Context;

use crate::broker::{Broker, Capabilities, Sink, Source};
use crate::error::BrokerError;
use crate::memory::sink::MemorySink;
use crate::memory::source::MemorySource;
use crate::memory::state::Shared;
use crate::message::Message;
use crate::subscription::Subscription;

pub use crate::memory::queue::QueueDepth;

/// A broker in memory: queues with redelivery, delays and dead letters, shared by all clones.
///
/// Good for tests and for a service that wants a queue between its own parts. What it holds is lost
/// with the process, and it holds as much as it is given.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::MemoryBroker;
///
/// let broker = MemoryBroker::new();
/// assert_eq!(broker.depth("inventory").ready, 0);
/// ```
#[derive(Clone)]
pub struct MemoryBroker {
    shared: Arc<Shared>,
}

impl MemoryBroker {
    /// Makes an empty broker.
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared::new(usize::MAX)) }
    }

    /// Makes an empty broker whose queues refuse what comes when `most` messages wait in them: its
    /// publish is [`Nacked`](crate::PublishErrorKind::Nacked).
    pub fn with_longest_queue(most: usize) -> Self {
        Self { shared: Arc::new(Shared::new(most)) }
    }

    /// How many messages are in a queue; zeros for one that does not exist.
    pub fn depth(&self, queue: &str) -> QueueDepth {
        self.shared.depth(queue)
    }

    /// The messages of a queue that wait to be delivered, oldest first.
    pub fn ready(&self, queue: &str) -> Vec<Message> {
        self.shared.ready(queue)
    }

    /// The names of all queues, sorted.
    pub fn queues(&self) -> Vec<String> {
        self.shared.queues()
    }

    /// Cuts every link, as a broker that restarts does: sources and sinks die, what is unsettled
    /// comes again. New ones can be opened at once, unless the broker is
    /// [unreachable](Self::set_reachable).
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// Refuses to open anything, and cuts every link, until it is reachable again.
    pub fn set_reachable(&self, reachable: bool) {
        self.shared.set_reachable(reachable);
    }
}

#[async_trait]
impl Broker for MemoryBroker {
    fn system(&self) -> &'static str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE.with_delay().with_counted_deliveries().with_order()
    }

    async fn source(
        &self,
        _ctx: &Context,
        subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        Ok(Box::new(MemorySource::open(Arc::clone(&self.shared), subscription)?))
    }

    async fn sink(&self, _ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        Ok(Arc::new(MemorySink::open(Arc::clone(&self.shared))?))
    }

    async fn close(&self, _ctx: &Context) {
        self.shared.set_reachable(false);
    }
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBroker").field("queues", &self.queues()).finish()
    }
}
