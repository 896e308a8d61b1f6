//! The broker of the shop, by its URL, and what goes over it.

use std::sync::Arc;

use downhaul::consumer::inbox::{Inbox, MemoryInbox};
use downhaul::consumer::{Broker, BrokerError, MemoryBroker, Publisher};
use downhaul::rabbitmq::RabbitMq;
use downhaul::{BrokerLink, MessageSpans};

use crate::cli::BrokerUrl;
use crate::shop::Shop;
use crate::words;

/// What the parts of the service have of the broker.
pub(crate) struct Links {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) publisher: Publisher,
    /// What was settled once is not handled again, however often it is delivered.
    pub(crate) seen: Arc<dyn Inbox>,
    /// The broker again, if it is one in memory.
    memory: Option<MemoryBroker>,
}

impl Links {
    pub(crate) fn to(url: &BrokerUrl) -> Result<Self, BrokerError> {
        let (broker, memory): (Arc<dyn Broker>, _) = match url {
            BrokerUrl::Memory => {
                let memory = MemoryBroker::new();
                (Arc::new(memory.clone()), Some(memory))
            }
            BrokerUrl::Amqp(url) => (Arc::new(RabbitMq::new(url)?), None),
            BrokerUrl::Kafka(address) => (kafka(address)?, None),
        };
        Ok(Self { memory, ..Self::over(broker) })
    }

    pub(crate) fn over(broker: Arc<dyn Broker>) -> Self {
        let publisher = Publisher::with_observer(Arc::clone(&broker), Arc::new(MessageSpans));
        Self { broker, publisher, seen: Arc::new(MemoryInbox::new()), memory: None }
    }

    /// Reached first and closed last, with an account of all orders.
    pub(crate) fn component(&self, shop: &Arc<Shop>) -> BrokerLink {
        let (shop, memory) = (Arc::clone(shop), self.memory.clone());
        BrokerLink::new(Arc::clone(&self.broker), self.publisher.clone())
            .last_words(move || words::account(&shop.stats(), memory.as_ref()))
    }
}

/// Kafka, which is to make the topics of the shop if there are none. As many processes can share
/// the work as a topic has partitions.
#[cfg(feature = "kafka")]
fn kafka(address: &str) -> Result<Arc<dyn Broker>, BrokerError> {
    use downhaul::kafka::{Kafka, NewTopics};

    Ok(Arc::new(Kafka::new(address)?.create_topics(NewTopics::partitions(4))))
}

#[cfg(not(feature = "kafka"))]
fn kafka(_address: &str) -> Result<Arc<dyn Broker>, BrokerError> {
    use downhaul::consumer::BrokerErrorKind;

    let words = "it was built without Kafka: run it with `--features kafka`";
    Err(BrokerError::new(BrokerErrorKind::Configuration, words))
}
