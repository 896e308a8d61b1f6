//! What the tests share: a broker that is right about transactions, and those who look from
//! outside, by librdkafka alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Broker, Delivery, Destination, Event, Message, Outgoing, PublishOutcome, Publisher, Source,
    Subscription, Token, Verdict,
};
use downhaul_context::Context;
use downhaul_kafka::{Kafka, NewTopics};
use downhaul_testkit::kafka::{Gap, Kind, shared, shared_kind, shared_lacks, shared_of};
use downhaul_testkit::unique;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

/// Longer than anything takes unless it hangs.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// The only step of delay.
pub(crate) const STEP: Duration = Duration::from_millis(50);

/// The broker of all tests.
pub(crate) fn servers() -> String {
    kind().map_or_else(shared, shared_of)
}

/// What it is; `None` where it was given by its address. A stand-in that has no transactions, or
/// shows aborted ones, cannot judge, and another is used in its place.
fn kind() -> Option<Kind> {
    let cannot_judge = [Gap::Aborted, Gap::Transactions].into_iter().any(shared_lacks);
    if cannot_judge { Some(Kind::Noida) } else { shared_kind() }
}

/// Whether that broker cannot do a thing: a skip, which is printed.
pub(crate) fn lacks(gap: Gap) -> bool {
    let kind = kind();
    let lacks = kind.is_some_and(|kind| kind.lacks(gap));
    if let Some(kind) = kind.filter(|_| lacks) {
        println!("skipped: {kind} {gap}");
    }
    lacks
}

/// The names that one test uses.
pub(crate) struct Names {
    pub(crate) id: String,
    pub(crate) group: String,
    pub(crate) input: String,
    pub(crate) output: String,
}

pub(crate) fn names() -> Names {
    let name = unique("txn");
    let with = |part: &str| format!("{name}-{part}");
    Names { id: with("id"), group: name.clone(), input: with("in"), output: with("out") }
}

/// A broker without transactions, for those around the consumer.
pub(crate) fn plain() -> Kafka {
    // Cooperative groups stick on the stand-in.
    Kafka::new(&servers())
        .unwrap()
        .create_topics(NewTopics::partitions(2))
        .retry_steps(&[STEP])
        .consumer_property("partition.assignment.strategy", "range")
}

impl Names {
    /// The broker on trial, which commits when its source closes and hardly before.
    pub(crate) fn seldom(&self) -> Kafka {
        plain().transactional(&self.id).commit_every(Duration::from_secs(3_600), usize::MAX)
    }

    /// The same, which commits all the time.
    pub(crate) fn often(&self) -> Kafka {
        plain().transactional(&self.id).commit_every(Duration::from_millis(10), 100)
    }

    pub(crate) fn retry(&self) -> String {
        format!("{}.retry.50ms", self.group)
    }

    pub(crate) fn dead(&self) -> String {
        format!("{}.dead", self.group)
    }

    pub(crate) fn subscription(&self) -> Subscription {
        Subscription::new(&self.group).topic(&self.input).with_prefetch(100)
    }

    /// Makes the topics, and puts messages of these ids into the first.
    pub(crate) async fn publish(&self, ids: impl IntoIterator<Item = String>) {
        self.make_topics().await;
        self.publish_to(&self.input, ids).await;
    }

    /// Puts messages of these ids into a topic.
    pub(crate) async fn publish_to(&self, topic: &str, ids: impl IntoIterator<Item = String>) {
        let publisher = Publisher::new(Arc::new(plain()));
        let (ctx, _canceller) = Context::background().with_timeout(LONG);
        let messages = ids.into_iter().map(|id| {
            let message = Message::identified(&id, id.clone()).with_key(id);
            Outgoing::to_topic(topic.to_owned(), message)
        });
        publisher.publish_all(&ctx, messages).await.unwrap();
        publisher.close(&ctx).await;
    }

    async fn make_topics(&self) {
        use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
        let admin: AdminClient<_> = client().create().unwrap();
        let topics = [(&self.input, 2), (&self.output, 2)];
        let topics = topics
            .map(|(name, partitions)| NewTopic::new(name, partitions, TopicReplication::Fixed(-1)));
        drop(admin.create_topics(&topics, &AdminOptions::new()).await.unwrap());
    }

    /// An outcome of a delivery: a message with its id.
    pub(crate) fn outcome(&self, delivery: &Delivery) -> Outgoing {
        outcome_of(delivery.token, &self.output, delivery.message.id())
    }

    /// How often each message can be seen in the output.
    pub(crate) async fn seen(&self) -> BTreeMap<String, usize> {
        visible(&self.output).await
    }

    /// Waits until just these can be seen in the output: the end of a transaction is confirmed
    /// before all partitions have it.
    pub(crate) async fn shows(&self, expected: BTreeMap<String, usize>) {
        let mut seen = BTreeMap::new();
        let looking = async {
            while seen != expected {
                seen = self.seen().await;
            }
        };
        let _ = tokio::time::timeout(LONG, looking).await;
        assert_eq!(seen, expected);
    }

    /// The state of the group as the broker names it, and how many members it has.
    pub(crate) async fn membership(&self) -> (String, usize) {
        let group = self.group.clone();
        asking(move || {
            let reader: BaseConsumer = client().create().unwrap();
            let groups = reader.fetch_group_list(Some(&group), LONG).unwrap();
            let found = groups.groups().iter().find(|one| one.name() == group);
            found.map(|one| (one.state().to_owned(), one.members().len())).unwrap_or_default()
        })
        .await
    }

    /// Waits until all members of the group have left.
    pub(crate) async fn until_all_left(&self) {
        let leaving = async { while self.membership().await.1 > 0 {} };
        tokio::time::timeout(LONG, leaving).await.expect("all members to leave");
    }

    /// Waits until the group has committed so many messages of the input.
    pub(crate) async fn until_committed(&self, count: i64) {
        let all = async { while self.committed().await < count {} };
        tokio::time::timeout(LONG, all).await.expect("all to be committed");
    }

    /// The sum of the offsets that the group has committed of the input.
    pub(crate) async fn committed(&self) -> i64 {
        let (group, input) = (self.group.clone(), self.input.clone());
        asking(move || {
            let reader: BaseConsumer = client().set("group.id", &group).create().unwrap();
            let mut partitions = TopicPartitionList::new();
            partitions.add_partition_range(&input, 0, 1);
            let committed = reader.committed_offsets(partitions, LONG).unwrap();
            let offset = |offset: Offset| offset.to_raw().unwrap().max(0);
            committed.elements().iter().map(|one| offset(one.offset())).sum()
        })
        .await
    }
}

pub(crate) fn outcome_of(token: Token, topic: &str, id: &str) -> Outgoing {
    let message = Message::identified(id, id.to_owned());
    let mut outgoing = Outgoing::to_topic(topic.to_owned(), message);
    outgoing.outcome_of = Some(token);
    outgoing
}

pub(crate) fn client() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers());
    config
}

/// Runs what keeps its thread waiting.
pub(crate) async fn asking<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(ask).await.unwrap()
}

/// How often each message can be seen in a topic now, by a reader of what is committed.
pub(crate) async fn visible(topic: &str) -> BTreeMap<String, usize> {
    visible_at(servers(), topic).await
}

/// The same at another broker.
pub(crate) async fn visible_at(servers: String, topic: &str) -> BTreeMap<String, usize> {
    let topic = topic.to_owned();
    asking(move || read_all(&servers, &topic)).await
}

fn read_all(servers: &str, topic: &str) -> BTreeMap<String, usize> {
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", unique("reader"))
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let metadata = reader.fetch_metadata(Some(topic), LONG).unwrap();
    let mut partitions = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        partitions.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
    }
    reader.assign(&partitions).unwrap();
    let (mut seen, mut open) = (BTreeMap::new(), partitions.count());
    while open > 0 {
        match reader.poll(LONG).expect("the end of a partition") {
            Ok(record) => {
                let payload = record.payload().unwrap_or_default();
                *seen.entry(String::from_utf8_lossy(payload).into_owned()).or_insert(0) += 1;
            }
            Err(KafkaError::PartitionEOF(_)) => open -= 1,
            Err(error) => panic!("{error}"),
        }
    }
    seen
}

/// What is emitted of a message.
pub(crate) fn emitted(names: &Names, id: &str) -> Outgoing {
    Outgoing::to_topic(names.output.clone(), Message::identified(id, id.to_owned()))
}

/// Waits until a topic shows so many messages, which is checked for more later.
pub(crate) async fn until_visible(topic: &str, count: usize) {
    let all = async { while visible(topic).await.values().sum::<usize>() < count {} };
    tokio::time::timeout(LONG, all).await.unwrap_or_else(|_| panic!("{topic} has too few"));
}

/// Each of these ids, once.
pub(crate) fn once(ids: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    ids.into_iter().map(|id| (id, 1)).collect()
}

pub(crate) fn ids(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| number.to_string())
}

pub(crate) async fn open(broker: &Kafka, subscription: &Subscription) -> Box<dyn Source> {
    broker.source(&Context::background(), subscription).await.unwrap()
}

/// Waits until so many messages are delivered, in whatever order.
pub(crate) async fn receive(source: &mut dyn Source, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    let receiving = async {
        while deliveries.len() < count {
            let mut events = Vec::new();
            source.next(&mut events).await.unwrap();
            deliveries.extend(events.into_iter().filter_map(Event::into_delivery));
        }
    };
    tokio::time::timeout(LONG, receiving).await.expect("deliveries");
    deliveries
}

pub(crate) async fn settle(source: &mut dyn Source, deliveries: &[Delivery], verdict: Verdict) {
    let batch: Vec<_> = deliveries.iter().map(|delivery| (delivery.token, verdict)).collect();
    assert_eq!(source.settle(&batch).await.unwrap().lost, []);
}

pub(crate) async fn close(source: Box<dyn Source>) {
    source.close(&Context::background()).await.unwrap();
}

/// Publishes by a sink of the broker, and returns its answer.
pub(crate) async fn send(broker: &Kafka, outgoing: &Outgoing) -> PublishOutcome {
    let sink = broker.sink(&Context::background()).await.unwrap();
    sink.send(outgoing).await.unwrap().await
}

/// Publishes what must be taken.
pub(crate) async fn emit(broker: &Kafka, outgoing: &Outgoing) {
    let answer = send(broker, outgoing).await;
    assert!(matches!(answer, PublishOutcome::Confirmed), "{answer:?}");
}

/// Waits for the error that a source dies of.
pub(crate) async fn death(source: &mut dyn Source) -> downhaul_consumer::BrokerError {
    let dying = async {
        loop {
            if let Err(error) = source.next(&mut Vec::new()).await {
                return error;
            }
        }
    };
    tokio::time::timeout(LONG, dying).await.expect("the source to die")
}

/// The topic of a destination, for those that are topics.
pub(crate) fn queue(name: &str, outgoing: Outgoing) -> Outgoing {
    let mut outgoing = outgoing;
    outgoing.destination = Destination::Queue(name.to_owned().into());
    outgoing
}
