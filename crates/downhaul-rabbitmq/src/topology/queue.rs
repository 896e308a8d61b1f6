//! [`Queue`]: where messages wait, for how long, and what becomes of those that nobody takes.

use std::time::Duration;

use crate::options::QueueType;
use crate::topology::argument::{Argument, Arguments};

const CONSUMER_TIMEOUT: &str = "x-consumer-timeout";
pub(crate) const DEAD_LETTER_EXCHANGE: &str = "x-dead-letter-exchange";
pub(crate) const DEAD_LETTER_KEY: &str = "x-dead-letter-routing-key";
pub(crate) const DEAD_LETTER_STRATEGY: &str = "x-dead-letter-strategy";
pub(crate) const DELIVERY_LIMIT: &str = "x-delivery-limit";
pub(crate) const MAX_BYTES: &str = "x-max-length-bytes";
pub(crate) const MAX_LENGTH: &str = "x-max-length";
pub(crate) const OVERFLOW: &str = "x-overflow";
pub(crate) const TYPE: &str = "x-queue-type";

/// A durable queue of a [`Topology`](crate::Topology).
///
/// Its properties are its own for life: to change one, give it another name or delete it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    pub(crate) name: String,
    pub(crate) queue_type: QueueType,
    pub(crate) arguments: Arguments,
}

/// What a queue does that is as long as it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// Gives up its oldest messages, as if their time were over. RabbitMQ does so without a word.
    DropHead,
    /// Refuses what is published: the publish is [nacked](downhaul_consumer::PublishOutcome).
    RejectPublish,
    /// Refuses it, and sends it to the dead letters. For classic queues.
    RejectPublishDeadLetter,
}

impl Queue {
    /// On one node.
    pub fn classic(name: impl Into<String>) -> Self {
        Self::new(name, QueueType::Classic)
    }

    /// Replicated with Raft over the nodes of a cluster.
    pub fn quorum(name: impl Into<String>) -> Self {
        Self::new(name, QueueType::Quorum)
    }

    /// Classic queues are declared without a word about their type, as everybody else does.
    pub(crate) fn new(name: impl Into<String>, queue_type: QueueType) -> Self {
        let mut arguments = Arguments::default();
        if queue_type == QueueType::Quorum {
            arguments.set(TYPE, "quorum");
        }
        Self { name: name.into(), queue_type, arguments }
    }

    /// Sends dead letters, which are those that were rejected, whose time is over, that had no room
    /// or that came too often, to an exchange. They keep their routing key.
    ///
    /// The dead letters of a [`Consumer`](downhaul_consumer::Consumer) are others: it publishes
    /// them itself, with their reason, into `<queue>.dead`.
    #[must_use]
    pub fn dead_letter_to(self, exchange: impl Into<String>) -> Self {
        self.argument(DEAD_LETTER_EXCHANGE, exchange.into())
    }

    /// The same with another routing key.
    #[must_use]
    pub fn dead_letter_to_with(self, exchange: impl Into<String>, key: impl Into<String>) -> Self {
        self.dead_letter_to(exchange).argument(DEAD_LETTER_KEY, key.into())
    }

    /// The same, straight into a queue.
    #[must_use]
    pub fn dead_letter_to_queue(self, queue: impl Into<String>) -> Self {
        self.dead_letter_to_with("", queue)
    }

    /// Keeps each dead letter until its queue has confirmed it. For quorum queues that
    /// [refuse](Overflow::RejectPublish) what they have no room for.
    #[must_use]
    pub fn dead_letter_at_least_once(self) -> Self {
        self.argument(DEAD_LETTER_STRATEGY, "at-least-once")
    }

    /// Makes a message that has waited for so long a dead letter. In whole milliseconds.
    #[must_use]
    pub fn message_ttl(mut self, time: Duration) -> Self {
        self.arguments.set_number("x-message-ttl", time.as_millis());
        self
    }

    /// Deletes the queue, with what is in it, when nobody has consumed or declared it for so long.
    /// A quorum queue does not count being declared again. In whole milliseconds, at least one.
    #[must_use]
    pub fn expires(mut self, time: Duration) -> Self {
        self.arguments.set_number("x-expires", time.as_millis().max(1));
        self
    }

    /// How many messages may wait.
    #[must_use]
    pub fn max_length(mut self, messages: u64) -> Self {
        self.arguments.set_number(MAX_LENGTH, messages);
        self
    }

    /// How many bytes of payload may wait.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.arguments.set_number(MAX_BYTES, bytes);
        self
    }

    /// What happens beyond that. Default at RabbitMQ is [`Overflow::DropHead`].
    #[must_use]
    pub fn overflow(self, overflow: Overflow) -> Self {
        self.argument(OVERFLOW, overflow.word())
    }

    /// How often a message may come back before it is a dead letter. For quorum queues.
    #[must_use]
    pub fn delivery_limit(mut self, times: u32) -> Self {
        self.arguments.set_number(DELIVERY_LIMIT, times);
        self
    }

    /// Delivers to one consumer at a time, and to the next one when that is gone.
    #[must_use]
    pub fn single_active_consumer(self) -> Self {
        self.argument("x-single-active-consumer", true)
    }

    /// Any other argument, such as `x-queue-leader-locator`.
    #[must_use]
    pub fn argument(mut self, name: impl Into<String>, value: impl Into<Argument>) -> Self {
        self.arguments.set(name, value);
        self
    }

    pub(crate) fn is_quorum(&self) -> bool {
        self.queue_type == QueueType::Quorum || self.arguments.text(TYPE) == Some("quorum")
    }

    /// How long RabbitMQ waits for the verdict on a message of it, if that is its own.
    pub(crate) fn consumer_timeout(&self) -> Option<Duration> {
        match self.arguments.get(CONSUMER_TIMEOUT)? {
            Argument::Integer(millis) => u64::try_from(*millis).ok().map(Duration::from_millis),
            Argument::Text(_) | Argument::Boolean(_) => None,
        }
    }

    /// The exchange and the routing key of its dead letters.
    pub(crate) fn dead_letters(&self) -> Option<(&str, Option<&str>)> {
        let exchange = self.arguments.text(DEAD_LETTER_EXCHANGE)?;
        Some((exchange, self.arguments.text(DEAD_LETTER_KEY)))
    }
}

impl Overflow {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::DropHead => "drop-head",
            Self::RejectPublish => "reject-publish",
            Self::RejectPublishDeadLetter => "reject-publish-dlx",
        }
    }
}
