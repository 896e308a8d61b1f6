//! What can go wrong with a broker or a publish, and what to do about it.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use downhaul_context::Cause;
pub(crate) use downhaul_context::scope::BoxError;
use downhaul_context::traced::one_line;

use crate::batch::unshared;

/// Who is at fault and whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BrokerErrorKind {
    /// The broker or the client was closed.
    Closed,
    /// The configuration is wrong: the URL, the credentials, a queue that exists with other
    /// properties.
    Configuration,
    /// The link is there, but the queue that was consumed is not: it was deleted, or is elsewhere
    /// now. Opening it again makes or finds it.
    QueueGone,
    /// The message itself cannot be sent, such as one that is too large.
    Message,
    /// The broker cannot be reached, or the link was lost.
    Unreachable,
}

/// A failure at a broker.
///
/// Its `Display` is one line without the source; the text may change.
#[derive(Debug, thiserror::Error)]
#[error("{context}")]
pub struct BrokerError {
    kind: BrokerErrorKind,
    context: String,
    source: Option<BoxError>,
    come_again: u64,
}

impl BrokerError {
    /// Makes an error of a kind that says in `context` what was tried and what to do.
    pub fn new(kind: BrokerErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None, come_again: 0 }
    }

    /// Adds what lies behind it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds how many messages were finished and come again all the same; for a
    /// [`Source`](crate::Source) that closes.
    #[must_use]
    pub fn with_come_again(mut self, messages: u64) -> Self {
        self.come_again = messages;
        self
    }

    /// How many messages were finished and come again all the same, as far as that is known.
    pub fn come_again(&self) -> u64 {
        self.come_again
    }

    /// The kind.
    pub fn kind(&self) -> BrokerErrorKind {
        self.kind
    }

    /// Whether trying again without a change cannot help.
    pub fn is_permanent(&self) -> bool {
        matches!(self.kind, BrokerErrorKind::Configuration | BrokerErrorKind::Message)
    }

    /// The error and all that lies behind it, on one line.
    pub fn chain(&self) -> String {
        chain(self)
    }
}

/// An error and all its sources on one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    one_line(unshared(error)).to_string()
}

/// Why a message is not known to be with the broker.
#[derive(Debug)]
pub struct PublishError {
    kind: PublishErrorKind,
    source: Option<BoxError>,
}

/// What is known of a message whose publish failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PublishErrorKind {
    /// The broker refused it: it is not in all the queues that it was meant for. Of several, some
    /// may have it.
    Nacked,
    /// It was not sent: the context ended first, while the broker could not be reached or had no
    /// room.
    NotSent,
    /// It cannot be sent, as it is or as things are set up. Trying again does not help.
    Refused,
    /// No queue wants it. It is not in any queue.
    Returned,
    /// It was sent and not answered. It may or may not be in its queues; publishing it again, with
    /// the same id, is safe where consumers tell duplicates.
    Unknown,
}

impl PublishError {
    pub(crate) fn new(kind: PublishErrorKind) -> Self {
        Self { kind, source: None }
    }

    pub(crate) fn caused(kind: PublishErrorKind, source: impl Into<BoxError>) -> Self {
        Self { kind, source: Some(source.into()) }
    }

    /// What is known of the message.
    pub fn kind(&self) -> PublishErrorKind {
        self.kind
    }

    /// Whether the message is certainly in no queue.
    pub fn is_certainly_unsent(&self) -> bool {
        !matches!(self.kind, PublishErrorKind::Nacked | PublishErrorKind::Unknown)
    }

    /// Whether trying again does not help since the message itself is at fault, such as one that is
    /// too large.
    pub fn is_of_the_message(&self) -> bool {
        let source = self.source.as_deref();
        let broker = source.and_then(|source| match source.downcast_ref::<Arc<BrokerError>>() {
            Some(error) => Some(&**error),
            None => source.downcast_ref::<BrokerError>(),
        });
        let is_at_fault = broker.is_some_and(|error| error.kind() == BrokerErrorKind::Message);
        is_at_fault && self.kind == PublishErrorKind::Refused
    }

    /// The end of the context, where that is what stopped the publish.
    pub fn cause(&self) -> Option<&Cause> {
        self.source.as_deref().and_then(|source| source.downcast_ref())
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            PublishErrorKind::Nacked => "the broker nacked the message",
            PublishErrorKind::NotSent => "the message was not sent",
            PublishErrorKind::Refused => "the message cannot be sent",
            PublishErrorKind::Returned => "no queue takes the message",
            PublishErrorKind::Unknown => "the broker did not answer for the message",
        })
    }
}

impl Error for PublishError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
