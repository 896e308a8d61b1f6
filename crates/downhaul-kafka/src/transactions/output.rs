//! [`Output`]: a message that waits for its transaction.

use downhaul_consumer::{BrokerError, Message, Outgoing};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::BaseRecord;

use crate::record::{headers, outgoing_record};
use crate::transactions::refusals::Origin;

/// A message that waits for its transaction, with all that could be found wrong with it found.
#[derive(Debug)]
pub(crate) struct Output {
    topic: String,
    headers: OwnedHeaders,
    message: Message,
    origin: Origin,
}

/// What goes with a record until it is delivered.
#[derive(Clone, Debug)]
pub(super) struct Label {
    pub(super) origin: Origin,
    pub(super) topic: String,
    pub(super) size: usize,
}

/// What differs between two messages that a delivery leads to, in bytes.
pub(super) fn size(message: &Message) -> usize {
    let headers = message.headers().iter().map(|(name, value)| name.len() + value.as_bytes().len());
    message.payload().len() + headers.sum::<usize>()
}

impl Output {
    /// # Errors
    ///
    /// The message cannot be sent.
    pub(super) fn new(
        origin: Origin,
        topic: String,
        outgoing: &Outgoing,
    ) -> Result<Self, BrokerError> {
        let headers = headers(outgoing)?;
        Ok(Self { topic, headers, message: outgoing.message.clone(), origin })
    }

    pub(super) fn record(&self) -> BaseRecord<'_, [u8], [u8], Box<Label>> {
        let (origin, topic) = (self.origin.clone(), self.topic.clone());
        let label = Box::new(Label { origin, topic, size: size(&self.message) });
        outgoing_record(&self.topic, &self.message, self.headers.clone(), label)
    }
}
