//! Loops on lapin alone: as its own examples have them, and as fast as we know to write them.

use futures_util::stream::{FuturesUnordered, StreamExt};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{Acker, BasicProperties, Channel, Confirmation, Consumer};

use super::cost::{Cost, Moment, Progress};
use super::site::{Place, Site};
use super::{FEW, MANY, PAYLOAD, PREFETCH, WINDOW};

/// How many messages the fast loop acknowledges with one frame.
const ACKED_AT_ONCE: usize = 100;
/// As RabbitMQ calls a message that survives a restart.
const PERSISTENT: u8 = 2;

/// Waits for each acknowledgement to be written before it takes the next message.
pub(super) fn consume_one_by_one(site: &'static Site, place: &'static Place) -> Cost {
    site.run(async {
        let (channel, mut consumer) = consumer(site, place).await;
        let progress = Progress::of(MANY);
        for _ in 0..MANY {
            let delivery = consumer.next().await.expect("goes on").expect("a message");
            progress.note(&delivery.data);
            delivery.ack(BasicAckOptions::default()).await.expect("acknowledged");
        }
        end(channel, &progress).await
    })
}

/// Acknowledges many messages at once, and takes others while that is written. One frame at a time:
/// one that overtakes another would leave that one with nothing to acknowledge.
pub(super) fn consume(site: &'static Site, place: &'static Place) -> Cost {
    site.run(async {
        let (channel, mut consumer) = consumer(site, place).await;
        let (progress, mut writing) = (Progress::of(MANY), FuturesUnordered::new());
        let (mut count, mut acked, mut last) = (0, 0, None);
        while acked < MANY {
            tokio::select! {
                biased;
                Some(written) = writing.next() => assert!(matches!(written, Ok(true))),
                delivery = consumer.next(), if count < MANY => {
                    let delivery = delivery.expect("goes on").expect("a message");
                    progress.note(&delivery.data);
                    count += 1;
                    last = Some(delivery.acker);
                }
            }
            // Also when a frame is written: all that the prefetch allows may be here by then.
            let is_enough = count >= acked + ACKED_AT_ONCE || count == MANY;
            if is_enough && writing.is_empty() {
                writing.extend(last.take().map(acknowledge));
                acked = count;
            }
        }
        assert!(matches!(writing.next().await, Some(Ok(true))));
        end(channel, &progress).await
    })
}

async fn acknowledge(acker: Acker) -> lapin::Result<bool> {
    acker.ack(BasicAckOptions { multiple: true }).await
}

async fn consumer(site: &Site, place: &Place) -> (Channel, Consumer) {
    let channel = site.connection.create_channel().await.expect("a channel");
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await.expect("limited");
    let (queue, tag) = (place.queue.as_str().into(), ShortString::default());
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = channel.basic_consume(queue, tag, options, arguments).await;
    (channel, consumer.expect("consuming"))
}

/// Once the channel is closed, the broker has all acknowledgements.
async fn end(channel: Channel, progress: &Progress) -> Cost {
    channel.close(200, "OK".into()).await.expect("closed");
    progress.cost(MANY)
}

/// Waits for each confirm before it publishes the next message.
pub(super) fn publish_one_by_one(site: &'static Site, place: &'static Place) -> Cost {
    site.run(async {
        let channel = publisher(site).await;
        publish_one(&channel, place).await;
        let start = Moment::now();
        for _ in 0..FEW {
            publish_one(&channel, place).await;
        }
        let cost = start.until_now(FEW);
        channel.close(200, "OK".into()).await.expect("closed");
        cost
    })
}

/// All under way as far as the window goes, until the last is confirmed.
pub(super) fn publish(site: &'static Site, place: &'static Place) -> Cost {
    site.run(send(site, place, MANY))
}

pub(super) async fn send(site: &Site, place: &Place, count: usize) -> Cost {
    let channel = publisher(site).await;
    let start = Moment::now();
    let mut under_way = FuturesUnordered::new();
    for _ in 0..count {
        if under_way.len() >= WINDOW {
            under_way.next().await;
        }
        under_way.push(publish_one(&channel, place));
    }
    while under_way.next().await.is_some() {}
    let cost = start.until_now(count);
    channel.close(200, "OK".into()).await.expect("closed");
    cost
}

async fn publisher(site: &Site) -> Channel {
    let channel = site.connection.create_channel().await.expect("a channel");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    channel
}

async fn publish_one(channel: &Channel, place: &Place) {
    // A payload that has memory of its own, as ours.
    let payload = PAYLOAD.to_vec();
    let (exchange, key) = (ShortString::default(), place.queue.as_str().into());
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    let sent = channel.basic_publish(exchange, key, options, &payload, properties).await;
    let confirmation = sent.expect("sent").await.expect("answered");
    assert!(matches!(confirmation, Confirmation::Ack(None)), "{confirmation:?}");
}
