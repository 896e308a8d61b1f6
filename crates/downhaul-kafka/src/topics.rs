//! [`NewTopics`]: how topics are made.

use std::collections::BTreeMap;

/// How a topic is made where there is none.
///
/// # Examples
///
/// ```
/// use downhaul_kafka::{Kafka, NewTopics};
///
/// let topics = NewTopics::partitions(12).replication(3).config("retention.ms", "604800000");
/// let broker = Kafka::new("kafka://localhost:9092")?.create_topics(topics);
/// # Ok::<(), downhaul_consumer::BrokerError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopics {
    partitions: u16,
    replication: Option<u16>,
    config: BTreeMap<String, String>,
}

impl NewTopics {
    /// With so many partitions, at least 1: how many consumers of a group can share the work.
    pub fn partitions(partitions: u16) -> Self {
        Self { partitions: partitions.max(1), replication: None, config: BTreeMap::new() }
    }

    /// On so many brokers, at least 1. Unless set, as many as the cluster is configured to.
    #[must_use]
    pub fn replication(mut self, brokers: u16) -> Self {
        self.replication = Some(brokers.max(1));
        self
    }

    /// Sets a property of the topic, such as `retention.ms` or `cleanup.policy`.
    #[must_use]
    pub fn config(mut self, property: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(property.into(), value.into());
        self
    }

    pub(crate) fn new_topic<'a>(&'a self, name: &'a str) -> rdkafka::admin::NewTopic<'a> {
        use rdkafka::admin::{NewTopic, TopicReplication};
        // -1 is Kafka's word for its own default.
        let replication = self.replication.map_or(-1, i32::from);
        let partitions = i32::from(self.partitions);
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
        self.config.iter().fold(topic, |topic, (property, value)| topic.set(property, value))
    }
}

/// One partition, replicated as the cluster is configured to.
impl Default for NewTopics {
    fn default() -> Self {
        Self::partitions(1)
    }
}
