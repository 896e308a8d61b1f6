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
pub(super) type Label = (Origin, String);

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

    pub(super) fn record(&self) -> BaseRecord<'_, str, [u8], Box<Label>> {
        let label = Box::new((self.origin.clone(), self.topic.clone()));
        outgoing_record(&self.topic, &self.message, self.headers.clone(), label)
    }
}
