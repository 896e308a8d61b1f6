//! The memory log's own promises, and what the engine makes of partitions that move.

mod consumers;
mod going;
mod load;
mod offsets;
mod rebalancing;
mod world;

use std::sync::Arc;

use downhaul_consumer::{
    Broker, Delivery, Event, Lane, MemoryLog, Message, Outgoing, Publisher, Source, Subscription,
    Token, Verdict,
};
use downhaul_context::Context;
use futures_util::FutureExt;
use tokio::task::yield_now;

/// The group `q`, which reads the topic `t`.
fn subscription() -> Subscription {
    Subscription::new("q").topic("t").with_prefetch(1_000)
}

async fn open(log: &MemoryLog) -> Box<dyn Source> {
    log.source(&Context::background(), &subscription()).await.unwrap()
}

async fn publish(log: &MemoryLog, message: Message) {
    let publisher = Publisher::new(Arc::new(log.clone()));
    publisher.publish(&Context::background(), Outgoing::to_topic("t", message)).await.unwrap();
}

/// Publishes the numbers from 0, which go to the partitions by turns.
async fn publish_numbers(log: &MemoryLog, count: usize) {
    log.create_topic("t");
    for number in 0..count {
        publish(log, Message::new("").with_id(number.to_string())).await;
    }
}

/// Waits for what needs no time, but for others to have their turn.
async fn until(condition: impl Fn() -> bool) {
    for _ in 0..200_000 {
        if condition() {
            return;
        }
        yield_now().await;
    }
    panic!("it did not come to pass, however often others had their turn");
}

/// All that a source has to tell now.
fn at_hand(source: &mut dyn Source) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(told) = source.next(&mut events).now_or_never() {
        told.unwrap();
    }
    events
}

fn deliveries(source: &mut dyn Source) -> Vec<Delivery> {
    at_hand(source).into_iter().filter_map(Event::into_delivery).collect()
}

async fn settle(source: &mut dyn Source, delivery: &Delivery, verdict: Verdict) -> Vec<Token> {
    source.settle(&[(delivery.token, verdict)]).await.unwrap().lost
}

/// Acknowledges all, in time.
async fn ack_all(source: &mut dyn Source, deliveries: &[Delivery]) {
    for delivery in deliveries {
        assert_eq!(settle(source, delivery, Verdict::Ack).await, []);
    }
}

fn ids(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| delivery.message.id()).collect()
}

/// The lanes of deliveries, each once.
fn lanes(deliveries: &[Delivery]) -> Vec<Lane> {
    let mut lanes: Vec<Lane> = deliveries.iter().map(|delivery| delivery.lane).collect();
    lanes.sort_unstable();
    lanes.dedup();
    lanes
}
