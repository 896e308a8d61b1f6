//! What is handed to a sink and what comes back.

mod awaited;
mod receipt;
mod window;

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Token;
use crate::error::{BrokerError, PublishError, PublishErrorKind};
use crate::message::{Message, Name};
pub(crate) use crate::publish::awaited::Awaited;
pub use crate::publish::receipt::{Receipt, ReceiptSender};
pub(crate) use crate::publish::window::{Place, Window};

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
    /// The delivery that it is an outcome of: something that its handler has emitted, its retry, or
    /// its dead letter. The engine sets it. A broker with transactions publishes it together with
    /// the settlement of the delivery; for all others it says nothing.
    pub outcome_of: Option<Token>,
    /// That no queue takes it is no failure. See [`optional`](Self::optional).
    pub optional: bool,
    /// Nothing is to be added to its headers.
    pub(crate) is_complete: bool,
}

impl Outgoing {
    /// A message for all queues bound to `topic`.
    pub fn to_topic(topic: impl Into<Name>, message: Message) -> Self {
        Self::to(Destination::Topic(topic.into()), message)
    }

    /// A message for one queue.
    pub fn to_queue(queue: impl Into<Name>, message: Message) -> Self {
        Self::to(Destination::Queue(queue.into()), message)
    }

    pub(crate) fn to(destination: Destination, message: Message) -> Self {
        let (delay, outcome_of) = (Duration::ZERO, None);
        Self { destination, message, delay, outcome_of, optional: false, is_complete: false }
    }

    /// Holds the message back for `delay`.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Counts it as confirmed when no queue takes it: an event that may have no subscriber yet, or
    /// an answer whose caller may have given up.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), downhaul_consumer::PublishError> {
    /// use std::sync::Arc;
    ///
    /// use downhaul_consumer::{MemoryBroker, Message, Outgoing, Publisher};
    /// use downhaul_context::Context;
    ///
    /// let publisher = Publisher::new(Arc::new(MemoryBroker::new()));
    /// let event = Outgoing::to_topic("nobody.listens", Message::new("")).optional();
    /// publisher.publish(&Context::background(), event).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    pub(crate) fn with_outcome_of(mut self, delivery: Token) -> Self {
        self.outcome_of = Some(delivery);
        self
    }
}

/// What the broker said of a message.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PublishOutcome {
    /// It is in every queue that it was routed to, as durably as the broker promises.
    Confirmed,
    /// The broker refused it: one of its queues at least does not have it.
    Nacked,
    /// The broker does not take it as it is, such as one that is too large: it is in no queue, and
    /// trying again does not help.
    Refused(Arc<BrokerError>),
    /// No queue took it; the text is the broker's.
    Returned(String),
    /// No answer was about it, as when the link was lost before. It may or may not be in its
    /// queues.
    Unknown(Arc<BrokerError>),
}

impl PublishOutcome {
    /// An error for whatever is not a confirm.
    pub(crate) fn confirmed(self) -> Result<(), PublishError> {
        match self {
            Self::Confirmed => Ok(()),
            Self::Nacked => Err(PublishError::new(PublishErrorKind::Nacked)),
            Self::Refused(error) => Err(PublishError::caused(PublishErrorKind::Refused, error)),
            Self::Returned(text) => Err(PublishError::caused(PublishErrorKind::Returned, text)),
            Self::Unknown(error) => Err(PublishError::caused(PublishErrorKind::Unknown, error)),
        }
    }
}
