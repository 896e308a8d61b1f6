//! [`Topology`]: what a service wants to find at the broker.

mod argument;
mod checks;
mod exchange;
mod flow;
mod queue;
mod tree;

use downhaul_consumer::{BrokerError, BrokerErrorKind};
use lapin::types::ShortString;

pub use self::argument::Argument;
pub(crate) use self::argument::Arguments;
pub use self::exchange::Exchange;
pub use self::queue::{Overflow, Queue};
use crate::error::short;

/// Exchanges, queues and bindings that are declared before they are used, for each connection anew.
///
/// A consumer names a queue of it as it names any other, by its
/// [`Subscription`](downhaul_consumer::Subscription). Its `Display` is a tree for people.
///
/// # Examples
///
/// ```
/// use downhaul_rabbitmq::{Exchange, Overflow, Queue, RabbitMq, Topology};
///
/// let topology = Topology::new()
///     .exchange(Exchange::topic("shop"))
///     .queue(Queue::quorum("inventory").delivery_limit(10).dead_letter_to_queue("lost"))
///     .queue(Queue::classic("lost").max_length(1_000).overflow(Overflow::RejectPublish))
///     .bind("inventory", "shop", "order.*");
/// assert!(topology.warnings().is_empty());
/// assert_eq!(
///     topology.to_string(),
///     "exchange shop, topic\n\
///      └─ order.* → queue inventory\n\
///      queue inventory, quorum, delivery limit 10\n\
///      └─ dead letters → queue lost\n\
///      queue lost, classic, max length 1000, overflow reject-publish\n",
/// );
/// let broker = RabbitMq::new("amqp://localhost")?.exchange("shop").topology(topology)?;
/// # Ok::<(), downhaul_consumer::BrokerError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) queues: Vec<Queue>,
    pub(crate) bindings: Vec<Binding>,
}

/// That messages flow from an exchange to a queue or to another exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    pub(crate) to: Target,
    pub(crate) exchange: String,
    pub(crate) key: String,
    pub(crate) arguments: Arguments,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Exchange(String),
    Queue(String),
}

impl Topology {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an exchange.
    #[must_use]
    pub fn exchange(mut self, exchange: Exchange) -> Self {
        self.exchanges.push(exchange);
        self
    }

    /// Adds a queue.
    #[must_use]
    pub fn queue(mut self, queue: Queue) -> Self {
        self.queues.push(queue);
        self
    }

    /// Lets a queue have what an exchange finds by this routing key. Exchanges that fan out, and
    /// those that go by headers, pass over the key.
    #[must_use]
    pub fn bind(
        self,
        queue: impl Into<String>,
        exchange: impl Into<String>,
        key: impl Into<String>,
    ) -> Self {
        self.add(Target::Queue(queue.into()), exchange, key, Arguments::default())
    }

    /// Lets a queue have what an exchange of headers finds by these, all of which a message must
    /// have, unless there is an `x-match` of `any` among them.
    #[must_use]
    pub fn bind_headers<N: Into<String>, V: Into<Argument>>(
        self,
        queue: impl Into<String>,
        exchange: impl Into<String>,
        headers: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut arguments = Arguments::default();
        headers.into_iter().for_each(|(name, value)| arguments.set(name, value));
        self.add(Target::Queue(queue.into()), exchange, "", arguments)
    }

    /// Lets one exchange have what another finds by this routing key.
    #[must_use]
    pub fn bind_exchange(
        self,
        to: impl Into<String>,
        exchange: impl Into<String>,
        key: impl Into<String>,
    ) -> Self {
        self.add(Target::Exchange(to.into()), exchange, key, Arguments::default())
    }

    fn add(
        mut self,
        to: Target,
        exchange: impl Into<String>,
        key: impl Into<String>,
        arguments: Arguments,
    ) -> Self {
        let (exchange, key) = (exchange.into(), key.into());
        self.bindings.push(Binding { to, exchange, key, arguments });
        self
    }

    pub(crate) fn find_queue(&self, name: &str) -> Option<&Queue> {
        self.queues.iter().find(|queue| queue.name == name)
    }

    pub(crate) fn find_exchange(&self, name: &str) -> Option<&Exchange> {
        self.exchanges.iter().find(|exchange| exchange.name == name)
    }
}

pub(crate) fn name(what: &str, text: &str) -> Result<ShortString, BrokerError> {
    short(what, text, BrokerErrorKind::Configuration)
}
