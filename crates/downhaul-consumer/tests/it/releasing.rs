//! Handlers that give messages back.

use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use downhaul_consumer::{
    Consumer, ConsumerHandle, Incoming, MemoryBroker, Message, Settlement, State,
};
use downhaul_context::{Context, Instant};
use tokio::time::sleep;

use crate::support::{publish_numbers, spawn, subscription, until};

/// A consumer whose handler gives everything back, and when it was asked.
async fn giving_back(broker: &MemoryBroker) -> (ConsumerHandle, Arc<Mutex<Vec<Instant>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let handler = move |_ctx: Context, _: Incoming<Message>| {
        let mut log = log.lock().unwrap();
        log.push(Instant::now());
        // In circles it would hold up the clock for ever.
        ready(if log.len() < 100 { Settlement::Release } else { Settlement::Ack })
    };
    let consumer = Consumer::new(subscription(), handler);
    (spawn(consumer, &Context::background(), broker).await, asked)
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_released_again_and_again_pauses_in_between() {
    let broker = MemoryBroker::new();
    let (consumer, asked) = giving_back(&broker).await;
    publish_numbers(&broker, 1).await;
    sleep(Duration::from_secs(300)).await;
    let asked = asked.lock().unwrap().clone();
    let pauses: Vec<_> = asked.windows(2).map(|two| (two[1] - two[0]).as_secs_f64()).collect();
    let bounds = [(0.0, 0.1), (0.5, 1.1), (2.0, 4.1), (8.0, 16.1), (30.0, 60.1), (30.0, 60.1)];
    assert!(pauses.len() > bounds.len(), "{pauses:?}");
    for (pause, (least, most)) in pauses.iter().zip(bounds) {
        assert!((least..most).contains(pause), "{pauses:?}");
    }
    assert_eq!(consumer.snapshot().waiting, 1);
    assert_eq!(consumer.snapshot().tally.released, pauses.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn what_pauses_before_it_is_given_back_goes_at_once_when_its_consumer_pauses_or_stops() {
    let broker = MemoryBroker::new();
    let (consumer, asked) = giving_back(&broker).await;
    publish_numbers(&broker, 1).await;
    until(|| consumer.snapshot().waiting == 1).await;
    consumer.pause();
    until(|| consumer.snapshot().waiting == 0).await;
    consumer.resume();
    until(|| consumer.snapshot().waiting == 1).await;
    consumer.drain();
    assert_eq!(consumer.settled().await, State::Stopped);
    let handlings = asked.lock().unwrap().len();
    assert_eq!(consumer.snapshot().tally.released, handlings as u64, "each is given back");
    assert_eq!((handlings, broker.ready("q").len()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn what_pauses_before_it_is_given_back_is_lost_with_its_link_and_comes_again() {
    let broker = MemoryBroker::new();
    let (consumer, asked) = giving_back(&broker).await;
    publish_numbers(&broker, 1).await;
    until(|| consumer.snapshot().waiting == 1).await;
    broker.cut();
    until(|| consumer.snapshot().tally.lost == 1).await;
    until(|| asked.lock().unwrap().len() == 3).await;
    assert_eq!(consumer.snapshot().tally.lost, 1);
}
