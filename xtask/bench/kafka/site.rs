//! [`Site`]: the broker, what is in it, and the runtime that both sides share.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use downhaul_consumer::{Message, Outgoing, Publisher};
use downhaul_context::Context;
use downhaul_kafka::Kafka;
use downhaul_testkit::kafka::shared;
use downhaul_testkit::unique;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{LARGE, LARGE_PAYLOAD, MANY, PARTITIONS, PAYLOAD, SLOW};

pub(super) struct Site {
    pub(super) runtime: Runtime,
    pub(super) servers: String,
    pub(super) kafka: Arc<Kafka>,
    /// Holds as many messages as a round is, spread over the partitions.
    pub(super) full: String,
    /// The same for rounds of few.
    pub(super) short: String,
    /// The same with large ones.
    pub(super) large: String,
}

/// What consumers are told besides.
pub(super) const SESSION: (&str, &str) = ("session.timeout.ms", "6000");

impl Site {
    /// Made once, with a broker that ends with the process.
    pub(super) fn get() -> &'static Self {
        static SITE: OnceLock<Site> = OnceLock::new();
        SITE.get_or_init(Self::open)
    }

    fn open() -> Self {
        let servers = shared();
        let kafka = Kafka::new(&servers).expect("an address");
        let kafka = Arc::new(kafka.consumer_property(SESSION.0, SESSION.1));
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        let (full, short, large) = (unique("full"), unique("short"), unique("large"));
        let site = Self { runtime, servers, kafka, full, short, large };
        site.runtime.block_on(async {
            site.fill(&site.full, MANY, &PAYLOAD).await;
            site.fill(&site.short, SLOW, &PAYLOAD).await;
            site.fill(&site.large, LARGE, &LARGE_PAYLOAD).await;
        });
        site
    }

    async fn fill(&self, topic: &str, count: usize, payload: &'static [u8]) {
        self.make(topic).await;
        let publisher = Publisher::new(self.kafka.clone());
        let ctx = Context::background();
        let filled = publisher.publish_all(&ctx, messages(topic, count, payload)).await;
        filled.expect("the broker takes them");
    }

    /// Makes a topic.
    pub(super) async fn make(&self, topic: &str) {
        let mut config = ClientConfig::new();
        let client = config.set("bootstrap.servers", &self.servers).create();
        let client: AdminClient<DefaultClientContext> = client.expect("a client");
        let new = NewTopic::new(topic, PARTITIONS.into(), TopicReplication::Fixed(1));
        let made = client.create_topics([&new], &AdminOptions::new()).await;
        made.expect("an answer").remove(0).expect("made");
    }
}

/// So many messages, each with a key of its own and memory of its own.
pub(super) fn messages(
    topic: &str,
    count: usize,
    payload: &'static [u8],
) -> impl Iterator<Item = Outgoing> {
    (0..count).map(move |number| {
        let message = Message::new(Bytes::copy_from_slice(payload));
        Outgoing::to_topic(topic, message.with_key(number.to_string()))
    })
}

/// Counts messages and takes the time from the first to the last.
pub(super) struct Stopwatch {
    left: AtomicUsize,
    first: OnceLock<Instant>,
    last: OnceLock<Instant>,
    done: Notify,
}

impl Stopwatch {
    pub(super) fn of(count: usize) -> Arc<Self> {
        let left = AtomicUsize::new(count);
        Arc::new(Self { left, first: OnceLock::new(), last: OnceLock::new(), done: Notify::new() })
    }

    /// Notes that a message is there.
    pub(super) fn begin(&self) {
        if self.first.get().is_none() {
            self.first.get_or_init(Instant::now);
        }
    }

    /// Notes that a message is finished.
    pub(super) fn end(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.last.get_or_init(Instant::now);
            self.done.notify_one();
        }
    }

    pub(super) async fn read(&self) -> std::time::Duration {
        self.done.notified().await;
        let (first, last) = (self.first.get(), self.last.get());
        first.zip(last).map_or_else(Default::default, |(first, last)| *last - *first)
    }
}
