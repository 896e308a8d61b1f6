//! Ours.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use downhaul_consumer::{Consumer, Incoming, Publisher, State, Subscription};
use downhaul_context::Context;
use downhaul_testkit::unique;
use tokio::time::{Instant, sleep};

use super::site::{Site, Stopwatch, messages};
use super::{HANDLING, LARGE, LARGE_CONCURRENCY, LARGE_HANDLING, MANY, PAYLOAD, SLOW};

/// From the first message to the last, by a group of its own.
pub(super) fn read(site: &Site) -> Duration {
    let watch = Stopwatch::of(MANY);
    let counted = Arc::clone(&watch);
    let handle = move |_ctx: Context, message: Incoming<Bytes>| {
        counted.begin();
        assert_eq!(message.body.len(), PAYLOAD.len());
        counted.end();
        async {}
    };
    let subscription = Subscription::new(unique("ours")).topic(&*site.full);
    let consumer = Consumer::new(subscription, handle).concurrency(256).prefetch(2_000);
    run(site, consumer, &watch)
}

/// Large ones, as far ahead as is usual.
pub(super) fn read_large(site: &Site) -> Duration {
    let watch = Stopwatch::of(LARGE);
    let consumer = slow(&site.large, LARGE_HANDLING, &watch).concurrency(LARGE_CONCURRENCY);
    run(site, consumer, &watch)
}

/// In order of keys, each message being handled for a while.
pub(super) fn by_key(site: &Site) -> Duration {
    let watch = Stopwatch::of(SLOW);
    let consumer = slow(&site.short, HANDLING, &watch).concurrency(256).ordered();
    run(site, consumer, &watch)
}

fn slow(topic: &str, handling: Duration, watch: &Arc<Stopwatch>) -> Consumer {
    let watch = Arc::clone(watch);
    let handle = move |_ctx: Context, _message: Incoming<Bytes>| {
        watch.begin();
        let watch = Arc::clone(&watch);
        async move {
            sleep(handling).await;
            watch.end();
        }
    };
    Consumer::new(Subscription::new(unique("ours")).topic(topic), handle)
}

fn run(site: &Site, consumer: Consumer, watch: &Stopwatch) -> Duration {
    site.runtime.block_on(async {
        let (ctx, canceller) = Context::root();
        let handle = consumer.spawn(&ctx, site.kafka.clone());
        assert_eq!(handle.settled().await, State::Running, "{:?}", handle.snapshot());
        let spent = watch.read().await;
        canceller.drain(HANDLING);
        handle.ended().await;
        spent
    })
}

/// All under way as far as the window goes, until the last is confirmed.
pub(super) fn write(site: &Site) -> Duration {
    site.runtime.block_on(async {
        let topic = unique("written");
        site.make(&topic).await;
        let publisher = Publisher::new(site.kafka.clone());
        let ctx = Context::background();
        // The first message waits for the producer to know the topic.
        publisher
            .publish_all(&ctx, messages(&topic, 100, &PAYLOAD))
            .await
            .expect("the broker takes them");
        let start = Instant::now();
        let written = publisher.publish_all(&ctx, messages(&topic, MANY, &PAYLOAD)).await;
        written.expect("the broker takes them");
        start.elapsed()
    })
}
