//! Ours.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use downhaul_consumer::{Consumer, Incoming, Message, Outgoing, Publisher, State, Subscription};
use downhaul_context::Context;

use super::cost::{Cost, Moment, Progress};
use super::site::{Place, Site};
use super::{MANY, PAYLOAD, PREFETCH};

/// What a consumer that has nothing left to handle never needs.
const BUDGET: Duration = Duration::from_secs(10);

/// From the first message until the broker has all acknowledgements.
pub(super) fn consume(site: &'static Site, place: &'static Place) -> Cost {
    let progress = Progress::of(MANY);
    let noted = Arc::clone(&progress);
    let handle = move |_ctx: Context, message: Incoming<Bytes>| {
        noted.note(&message.body);
        async {}
    };
    let consumer = Consumer::new(Subscription::new(place.queue.as_str()), handle);
    let consumer = consumer.concurrency(256).prefetch(PREFETCH);
    site.run(async move {
        let (ctx, canceller) = Context::root();
        let handle = consumer.spawn(&ctx, place.rabbitmq.clone());
        assert_eq!(handle.settled().await, State::Running, "{:?}", handle.snapshot());
        progress.done().await;
        canceller.drain(BUDGET);
        handle.ended().await;
        progress.cost(MANY)
    })
}

/// All under way as far as the window goes, until the last is confirmed.
pub(super) fn publish(site: &'static Site, place: &'static Place, is_optional: bool) -> Cost {
    let publisher = Publisher::new(place.rabbitmq.clone());
    site.run(async move {
        let ctx = Context::background();
        let messages = |count| (0..count).map(|_| message(place, is_optional));
        // The first message opens the channel.
        publisher.publish_all(&ctx, messages(100)).await.expect("the broker takes them");
        let start = Moment::now();
        publisher.publish_all(&ctx, messages(MANY)).await.expect("the broker takes them");
        let cost = start.until_now(MANY);
        publisher.close(&ctx).await;
        cost
    })
}

/// A message with memory of its own.
fn message(place: &Place, is_optional: bool) -> Outgoing {
    let message = Message::new(Bytes::copy_from_slice(&PAYLOAD));
    let outgoing = Outgoing::to_queue(place.queue.as_str(), message);
    if is_optional { outgoing.optional() } else { outgoing }
}
