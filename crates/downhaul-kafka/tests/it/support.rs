//! What the tests have in common.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use downhaul_consumer::{
    Broker, BrokerError, Consumer, ConsumerHandle, Delivery, Incoming, Message, Outgoing,
    PublishOutcome, Sink, Source, State, Subscription, Token, Verdict,
};
use downhaul_context::Context;
use downhaul_kafka::{Kafka, NewTopics};
pub(crate) use downhaul_testkit::faults::soon;
use downhaul_testkit::kafka::{self, Gap, Kind, Setup, shared, shared_kind};
use downhaul_testkit::proxy::Proxy;
use downhaul_testkit::unique;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::ToBytes;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{
    BaseProducer, BaseRecord, DefaultProducerContext, DeliveryResult, Producer, ProducerContext,
    ThreadedProducer,
};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use tokio::sync::mpsc;

use crate::heard::Heard;

/// After this a member that is silent is gone. With stand-ins, some of which let nobody in before
/// half of it, as short as they keep it reliably; else the least that Kafka takes unless it is told
/// otherwise (`group.min.session.timeout.ms`).
pub(crate) fn session() -> Duration {
    Duration::from_secs(if shared_kind().is_some() { 3 } else { 6 })
}

/// The only step of delay of the tests' groups.
pub(crate) const STEP: Duration = Duration::from_millis(500);

/// As [`soon`], of what has a time of its own.
pub(crate) async fn within<F: Future>(time: Duration, what: &str, future: F) -> F::Output {
    let waited = tokio::time::timeout(time, future).await;
    waited.unwrap_or_else(|_| panic!("{what}: it did not happen in {time:?}"))
}

/// Waits until a condition holds, in real time.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !holds().await {
            // tidy: what is asked is another process, which tells nobody when it changes
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// As all tests set it: topics are made, and sessions are short.
pub(crate) fn kafka(address: &str) -> Kafka {
    Kafka::new(address)
        .unwrap()
        .create_topics(NewTopics::partitions(1))
        .retry_steps(&[STEP])
        .commit_every(Duration::from_millis(50), 1_000)
        .consumer_property("session.timeout.ms", session().as_millis().to_string())
        .consumer_property("heartbeat.interval.ms", "300")
}

/// On the broker that tests share.
pub(crate) fn shared_broker() -> Kafka {
    kafka(&shared())
}

/// A declared skip.
pub(crate) fn skips(test: &str, why: impl std::fmt::Display) {
    println!("SKIPPED {test}: {why}");
}

/// A broker of the test's own, behind a proxy that its clients go through.
pub(crate) struct OwnBroker {
    pub(crate) broker: kafka::Broker,
    pub(crate) proxy: Proxy,
}

impl OwnBroker {
    /// `None`, which is printed, where no broker can be started that has what the test needs.
    pub(crate) async fn start(test: &str, needs: &[Gap]) -> Option<Self> {
        let Some(kind) = shared_kind() else {
            skips(test, "it breaks its broker, and this one is somebody else's");
            return None;
        };
        if let Some(gap) = needs.iter().chain(&[Gap::Proxy]).find(|gap| kind.lacks(**gap)) {
            skips(test, format!("{kind} {gap}"));
            return None;
        }
        Some(Self::of(kind).await)
    }

    async fn of(kind: Kind) -> Self {
        let runtime = tokio::runtime::Handle::current();
        let starting = tokio::task::spawn_blocking(move || {
            let proxy = Mutex::new(None);
            let broker = Setup::new(kind).start_behind(|port| {
                let _runtime = runtime.enter();
                let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
                let started = Proxy::start(upstream).unwrap();
                let address = started.address();
                *proxy.lock().unwrap() = Some(started);
                address.port()
            });
            (broker.unwrap(), proxy.into_inner().unwrap().unwrap())
        });
        let (broker, proxy) = starting.await.unwrap();
        Self { broker, proxy }
    }

    pub(crate) fn kafka(&self) -> Kafka {
        kafka(&self.broker.bootstrap())
    }
}

/// librdkafka's own cluster, in this process, whose answers can be chosen.
pub(crate) type Mock = MockCluster<'static, DefaultProducerContext>;

/// A session of a member of the mock. It has to be longer than the three seconds for which the mock
/// waits for others when a group begins; it waits for nearly as long whenever members come and go.
pub(crate) const MOCK_SESSION: Duration = Duration::from_millis(3_900);

/// A mock that has a topic and all that its group needs. It makes none by itself.
pub(crate) fn mock(brokers: i32, subscription: &Subscription, partitions: i32) -> (Mock, Kafka) {
    let mock = MockCluster::new(brokers).unwrap();
    for topic in subscription.topics() {
        mock.create_topic(topic, partitions, brokers).unwrap();
    }
    let retry = format!("{}.retry.500ms", subscription.queue());
    for topic in [retry, subscription.dead_letter_queue()] {
        mock.create_topic(&topic, 1, brokers).unwrap();
    }
    let kafka = mock_kafka(&mock);
    (mock, kafka)
}

pub(crate) fn mock_kafka(mock: &Mock) -> Kafka {
    Kafka::new(&mock.bootstrap_servers())
        .unwrap()
        .retry_steps(&[STEP])
        .commit_every(Duration::from_millis(50), 1_000)
        .consumer_property("session.timeout.ms", MOCK_SESSION.as_millis().to_string())
        .consumer_property("heartbeat.interval.ms", "50")
}

/// A queue of its own, bound to a topic of the same name.
pub(crate) fn subscription(prefix: &str) -> Subscription {
    let name = unique(prefix);
    Subscription::new(name.clone()).topic(name)
}

pub(crate) async fn source(broker: &dyn Broker, subscription: &Subscription) -> Box<dyn Source> {
    let ctx = Context::background();
    soon("a source opens", broker.source(&ctx, subscription)).await.unwrap()
}

pub(crate) async fn close(source: Box<dyn Source>) {
    soon("a source closes", source.close(&Context::background())).await.unwrap();
}

pub(crate) async fn sink(broker: &dyn Broker) -> Arc<dyn Sink> {
    soon("a sink opens", broker.sink(&Context::background())).await.unwrap()
}

/// Publishes and waits for the answer.
pub(crate) async fn publish(sink: &dyn Sink, outgoing: &Outgoing) -> PublishOutcome {
    soon("a publish", async { sink.send(outgoing).await.unwrap().await }).await
}

/// Why no source can be opened, which is one line.
pub(crate) async fn opening(kafka: &Kafka, subscription: &Subscription) -> BrokerError {
    let ctx = Context::background();
    let error = soon("it fails", kafka.source(&ctx, subscription)).await.err().unwrap();
    assert!(!error.chain().contains('\n'), "{}", error.chain());
    error
}

/// Waits for exactly so many deliveries.
pub(crate) async fn take(source: &mut dyn Source, count: usize) -> Vec<Delivery> {
    let mut heard = Heard::default();
    let what = format!("{count} deliveries");
    heard.until(source, &what, |heard| heard.deliveries.len() >= count).await;
    assert_eq!(heard.deliveries.len(), count, "not one too many");
    heard.deliveries
}

/// Asserts that nothing is delivered for a while.
pub(crate) async fn nothing(source: &mut dyn Source, time: Duration) {
    let mut heard = Heard::default();
    let listening = async {
        loop {
            let mut events = Vec::new();
            source.next(&mut events).await.unwrap();
            heard.take(events);
            assert!(heard.deliveries.is_empty(), "{:?}", texts(&heard.deliveries));
        }
    };
    drop(tokio::time::timeout(time, listening).await);
}

pub(crate) async fn settle(source: &mut dyn Source, batch: &[(Token, Verdict)]) -> Vec<Token> {
    soon("a settlement", source.settle(batch)).await.unwrap().lost
}

pub(crate) fn all(deliveries: &[Delivery], verdict: Verdict) -> Vec<(Token, Verdict)> {
    deliveries.iter().map(|delivery| (delivery.token, verdict)).collect()
}

pub(crate) fn texts(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| text(&delivery.message)).collect()
}

pub(crate) fn text(message: &Message) -> String {
    String::from_utf8(message.payload().to_vec()).unwrap()
}

pub(crate) fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// Spawns a consumer and waits until it runs.
pub(crate) async fn spawn(consumer: Consumer, broker: Arc<dyn Broker>) -> ConsumerHandle {
    let handle = consumer.spawn(&Context::background(), broker);
    assert_eq!(soon("a consumer runs", handle.settled()).await, State::Running);
    handle
}

/// A handler that tells what it got and is ready at once, and what it tells it to.
#[allow(clippy::type_complexity, reason = "nobody writes it")]
pub(crate) fn telling() -> (
    impl Fn(Context, Incoming<Message>) -> std::future::Ready<()> + Send + Sync + 'static,
    mpsc::UnboundedReceiver<Message>,
) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let handler = move |_ctx: Context, message: Incoming<Message>| {
        let _ = sender.send(message.body);
        std::future::ready(())
    };
    (handler, receiver)
}

/// Another client of the same cluster, which knows nothing of Downhaul.
pub(crate) struct Foreigner {
    config: ClientConfig,
    producer: Arc<ThreadedProducer<Answers>>,
}

/// What was not delivered.
#[derive(Default)]
struct Answers(Mutex<Vec<KafkaError>>);

impl ClientContext for Answers {}

impl ProducerContext for Answers {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.0.lock().unwrap().push(error.clone());
        }
    }
}

/// A record as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Foreigner {
    pub(crate) fn at(address: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", address).set("linger.ms", "1");
        // Keys go where Downhaul sends them to.
        config.set("partitioner", "murmur2_random");
        let producer = config.create_with_context(Answers::default()).unwrap();
        Self { config, producer: Arc::new(producer) }
    }

    pub(crate) fn shared() -> Self {
        Self::at(&shared())
    }

    /// Appends records to a partition, one after the other.
    pub(crate) async fn append<T: ToString>(
        &self,
        topic: &str,
        partition: i32,
        values: impl IntoIterator<Item = T>,
    ) {
        for value in values {
            let value = value.to_string();
            let record: BaseRecord<'_, (), _> =
                BaseRecord::to(topic).partition(partition).payload(&value);
            self.producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        self.flush().await;
    }

    /// Waits until all that was appended is there.
    async fn flush(&self) {
        let producer = Arc::clone(&self.producer);
        let flushing = move || producer.flush(Duration::from_secs(20));
        let flushed = tokio::task::spawn_blocking(flushing);
        soon("foreign records", flushed).await.unwrap().unwrap();
        assert_eq!(*self.producer.context().0.lock().unwrap(), []);
    }

    /// Appends a record as it is to the partition that it says.
    pub(crate) async fn append_raw(&self, topic: &str, raw: &Raw) {
        let mut headers = rdkafka::message::OwnedHeaders::new();
        for (key, value) in &raw.headers {
            let value = value.as_deref();
            headers = headers.insert(rdkafka::message::Header { key, value });
        }
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
        record = record.partition(raw.partition).headers(headers);
        record.key = raw.key.as_deref();
        record.payload = raw.value.as_deref();
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.flush().await;
    }

    /// Appends records in one transaction, which is committed or aborted.
    pub(crate) async fn transact(&self, topic: &str, values: &[&str], commits: bool) {
        let mut config = self.config.clone();
        config.set("transactional.id", unique("transaction"));
        let producer: BaseProducer = config.create().unwrap();
        let (topic, values) = (topic.to_owned(), values.join(" "));
        let transacting = tokio::task::spawn_blocking(move || {
            let time = Duration::from_secs(20);
            producer.init_transactions(time).unwrap();
            producer.begin_transaction().unwrap();
            for value in values.split(' ') {
                let record: BaseRecord<'_, (), str> =
                    BaseRecord::to(&topic).partition(0).payload(value);
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
            producer.flush(time).unwrap();
            let ended = match commits {
                true => producer.commit_transaction(time),
                false => producer.abort_transaction(time),
            };
            ended.unwrap();
        });
        soon("a transaction", transacting).await.unwrap();
    }

    /// What a group has committed of a topic, by partition. Without those of which it has nothing.
    pub(crate) async fn committed(
        &self,
        group: &str,
        topic: &str,
        partitions: i32,
    ) -> BTreeMap<i32, i64> {
        let (mut config, topic) = (self.config.clone(), topic.to_owned());
        config.set("group.id", group);
        let asking = tokio::task::spawn_blocking(move || {
            let client: BaseConsumer = config.create().unwrap();
            let mut wanted = TopicPartitionList::new();
            wanted.add_partition_range(&topic, 0, partitions - 1);
            let answer = client.committed_offsets(wanted, Duration::from_secs(20)).unwrap();
            let offset = |one: rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match one
                .offset()
            {
                Offset::Offset(offset) => Some((one.partition(), offset)),
                _ => None,
            };
            answer.elements().into_iter().filter_map(offset).collect()
        });
        soon("the committed offsets", asking).await.unwrap()
    }

    /// The committed offset of partition 0.
    pub(crate) async fn committed_of(&self, subscription: &Subscription) -> Option<i64> {
        let name = subscription.queue();
        self.committed(name, name, 1).await.get(&0).copied()
    }

    /// Reads so many records of a topic from its beginning, without a group.
    pub(crate) async fn read(&self, topic: &str, count: usize) -> Vec<Raw> {
        let (mut config, topic) = (self.config.clone(), topic.to_owned());
        config.set("group.id", "nobody").set("enable.auto.commit", "false");
        let reading = tokio::task::spawn_blocking(move || {
            use rdkafka::message::{Headers, Message as _};
            let client: BaseConsumer = config.create().unwrap();
            let time = Duration::from_secs(10);
            let metadata = client.fetch_metadata(Some(&topic), time).unwrap();
            let mut from = TopicPartitionList::new();
            for partition in metadata.topics()[0].partitions() {
                from.add_partition_offset(&topic, partition.id(), Offset::Beginning).unwrap();
            }
            client.assign(&from).unwrap();
            let mut records = Vec::new();
            while records.len() < count {
                let record = client.poll(Duration::from_secs(20));
                let record = record.expect("a record in time").unwrap();
                let headers = record.headers().into_iter().flat_map(Headers::iter);
                records.push(Raw {
                    partition: record.partition(),
                    offset: record.offset(),
                    key: record.key().map(<[u8]>::to_vec),
                    value: record.payload().map(<[u8]>::to_vec),
                    headers: headers
                        .map(|one| (one.key.to_owned(), one.value.map(|v| v.to_bytes().to_vec())))
                        .collect(),
                });
            }
            records
        });
        soon("records", reading).await.unwrap()
    }

    /// Makes topics, with so many partitions each.
    pub(crate) async fn make(&self, topics: &[&str], partitions: i32) {
        use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
        let mut admin: ClientConfig = self.config.clone();
        admin.remove("linger.ms");
        let admin: AdminClient<_> = admin.create().unwrap();
        let new: Vec<_> = topics
            .iter()
            .map(|topic| NewTopic::new(topic, partitions, TopicReplication::Fixed(-1)))
            .collect();
        let made = soon("topics", admin.create_topics(&new, &AdminOptions::new())).await.unwrap();
        made.into_iter().for_each(|one| drop(one.unwrap()));
    }
}
