//! rdkafka alone, as its own examples do it.

use std::sync::Arc;
use std::time::Duration;

use downhaul_context::RequestId;
use downhaul_testkit::unique;
use futures_util::stream::{FuturesUnordered, StreamExt};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{BorrowedMessage, Header, Message, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};
use tokio::time::{Instant, sleep};

use super::site::{SESSION, Site, Stopwatch};
use super::{HANDLING, LARGE, LARGE_CONCURRENCY, LARGE_HANDLING, MANY, PARTITIONS, PAYLOAD, SLOW};

/// How many of theirs are under way at a time: as many as of ours.
const WINDOW: usize = 10_000;

fn consumer(site: &Site, topic: &str) -> Arc<StreamConsumer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &site.servers)
        .set("group.id", unique("theirs"))
        .set("auto.offset.reset", "earliest")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("enable.auto.commit", "true")
        .set("enable.auto.offset.store", "false")
        .set(SESSION.0, SESSION.1);
    let consumer: StreamConsumer = config.create().expect("a consumer");
    consumer.subscribe(&[topic]).expect("a topic");
    Arc::new(consumer)
}

pub(super) fn read(site: &Site) -> Duration {
    let watch = Stopwatch::of(MANY);
    site.runtime.block_on(async {
        let consumer = consumer(site, &site.full);
        for _ in 0..MANY {
            let message = consumer.recv().await.expect("a message");
            watch.begin();
            assert_eq!(message.payload().map(<[u8]>::len), Some(PAYLOAD.len()));
            consumer.store_offset_from_message(&message).expect("stored");
            watch.end();
        }
        watch.read().await
    })
}

/// So many at a time of all that comes.
pub(super) fn read_large(site: &Site) -> Duration {
    let watch = Stopwatch::of(LARGE);
    site.runtime.block_on(async {
        let consumer = consumer(site, &site.large);
        let messages = consumer.stream().take(LARGE);
        let handling = messages.for_each_concurrent(usize::from(LARGE_CONCURRENCY), |message| {
            let (consumer, watch) = (&consumer, &watch);
            async move {
                handle(consumer, watch, &message.expect("a message"), LARGE_HANDLING).await;
            }
        });
        handling.await;
        watch.read().await
    })
}

/// A task for each partition, as those write it who must keep the order and do not want to wait
/// for all of them.
pub(super) fn by_partition(site: &Site) -> Duration {
    let watch = Stopwatch::of(SLOW);
    site.runtime.block_on(async {
        let consumer = consumer(site, &site.short);
        let queues = (0..i32::from(PARTITIONS)).map(|partition| {
            consumer.split_partition_queue(&site.short, partition).expect("a partition")
        });
        let serving: Vec<_> = queues
            .map(|queue| {
                let (watch, consumer) = (Arc::clone(&watch), Arc::clone(&consumer));
                tokio::spawn(async move {
                    while let Ok(message) = queue.recv().await {
                        handle(&consumer, &watch, &message, HANDLING).await;
                    }
                })
            })
            .collect();
        let events = Arc::clone(&consumer);
        let events = tokio::spawn(async move {
            // Nothing but what came before its partition had a queue.
            let watch = Stopwatch::of(usize::MAX);
            while let Ok(message) = events.recv().await {
                handle(&events, &watch, &message, HANDLING).await;
            }
        });
        let spent = watch.read().await;
        serving.iter().chain([&events]).for_each(tokio::task::JoinHandle::abort);
        spent
    })
}

async fn handle(
    consumer: &StreamConsumer,
    watch: &Stopwatch,
    message: &BorrowedMessage<'_>,
    handling: Duration,
) {
    watch.begin();
    sleep(handling).await;
    consumer.store_offset_from_message(message).expect("stored");
    watch.end();
}

pub(super) fn write(site: &Site, with_ids: bool) -> Duration {
    let topic = unique("written");
    site.runtime.block_on(async {
        site.make(&topic).await;
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &site.servers)
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "1");
        let producer: FutureProducer = config.create().expect("a producer");
        send(&producer, &topic, 100, with_ids).await;
        let start = Instant::now();
        send(&producer, &topic, MANY, with_ids).await;
        start.elapsed()
    })
}

async fn send(producer: &FutureProducer, topic: &str, count: usize, with_ids: bool) {
    let mut under_way = FuturesUnordered::new();
    for number in 0..count {
        if under_way.len() >= WINDOW {
            written(under_way.next().await);
        }
        let key = number.to_string();
        // A payload that has memory of its own, as ours.
        let payload = PAYLOAD.to_vec();
        let mut record = FutureRecord::to(topic).payload(&payload).key(&key);
        if with_ids {
            let id = RequestId::generate();
            let header = Header { key: "message-id", value: Some(id.as_str()) };
            record = record.headers(OwnedHeaders::new_with_capacity(1).insert(header));
        }
        under_way.push(producer.send_result(record).map_err(|(error, _)| error).expect("room"));
    }
    while !under_way.is_empty() {
        written(under_way.next().await);
    }
}

fn written(answer: Option<<DeliveryFuture as Future>::Output>) {
    answer.expect("one is under way").expect("not cancelled").expect("written");
}
