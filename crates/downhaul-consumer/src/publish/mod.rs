//! What is handed to a sink and what comes back.

mod receipt;
mod window;

use std::sync::Arc;
use std::time::Duration;

use crate::error::BrokerError;
use crate::message::{Message, Name};
pub use crate::publish::receipt::{Receipt, ReceiptSender};
pub(crate) use crate::publish::window::Window;

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "a backend must know them all")]
pub enum Destination {
    /// To every queue that is bound to the topic.
    Topic(Name),
    /// To one queue alone: a retry goes back to where it came from, a dead letter to its own queue.
    Queue(Name),
}

impl Destination {
    /// The name of the topic or queue.
    pub fn name(&self) -> &str {
        match self {
            Self::Topic(name) | Self::Queue(name) => name,
        }
    }
}

/// A message with its destination.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outgoing {
    /// Where it goes.
    pub destination: Destination,
    /// What goes.
    pub message: Message,
    /// How long it is held back before it is delivered; zero for not at all.
    pub delay: Duration,
}

impl Outgoing {
    /// A message for all queues bound to `topic`.
    pub fn to_topic(topic: impl Into<Name>, message: Message) -> Self {
        Self { destination: Destination::Topic(topic.into()), message, delay: Duration::ZERO }
    }

    /// A message for one queue.
    pub fn to_queue(queue: impl Into<Name>, message: Message) -> Self {
        Self { destination: Destination::Queue(queue.into()), message, delay: Duration::ZERO }
    }

    /// Holds the message back for `delay`.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

/// What the broker said of a message.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PublishOutcome {
    /// It is in every queue that it was routed to, as durably as the broker promises.
    Confirmed,
    /// The broker refused it.
    Nacked,
    /// No queue took it; the text is the broker's.
    Returned(String),
    /// The link was lost before an answer. It may or may not be in its queues.
    Unknown(Arc<BrokerError>),
}
