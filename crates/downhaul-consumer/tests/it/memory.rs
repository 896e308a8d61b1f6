//! The memory broker's own promises.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Broker, Delivery, Event, MemoryBroker, Message, Outgoing, PublishErrorKind, Publisher, Source,
    Subscription, Verdict,
};
use downhaul_context::Context;
use tokio::time::Instant;

async fn filled(count: u32) -> (MemoryBroker, Subscription) {
    let broker = MemoryBroker::new();
    let subscription = Subscription::new("q").topic("t").with_prefetch(100);
    let ctx = Context::background();
    drop(broker.source(&ctx, &subscription).await.unwrap());
    let publisher = Publisher::new(Arc::new(broker.clone()));
    for number in 0..count {
        let message = Message::new("").with_id(number.to_string());
        publisher.publish(&ctx, Outgoing::to_topic("t", message)).await.unwrap();
    }
    (broker, subscription)
}

async fn next(source: &mut dyn Source) -> Vec<Delivery> {
    let mut events = Vec::new();
    source.next(&mut events).await.unwrap();
    events.into_iter().filter_map(Event::into_delivery).collect()
}

fn ids(broker: &MemoryBroker) -> Vec<String> {
    broker.ready("q").iter().map(|message| message.id().to_owned()).collect()
}

#[tokio::test]
async fn what_a_dropped_source_held_comes_again_in_its_old_order() {
    let (broker, subscription) = filled(4).await;
    let mut source = broker.source(&Context::background(), &subscription).await.unwrap();
    let deliveries = next(&mut *source).await;
    assert_eq!((deliveries.len(), broker.depth("q").unsettled), (4, 4));
    source.settle(&[(deliveries[1].token, Verdict::Ack)]).await.unwrap();
    drop(source);
    assert_eq!(ids(&broker), ["0", "2", "3"]);
    assert_eq!(broker.depth("q").unsettled, 0);
}

#[tokio::test]
async fn released_messages_go_back_to_the_front_in_their_old_order() {
    let (broker, subscription) = filled(4).await;
    let mut source =
        broker.source(&Context::background(), &subscription.with_prefetch(3)).await.unwrap();
    let deliveries = next(&mut *source).await;
    let batch: Vec<_> = deliveries.iter().map(|one| (one.token, Verdict::Release)).collect();
    source.settle(&batch).await.unwrap();
    assert_eq!(ids(&broker), ["0", "1", "2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn delayed_messages_come_when_they_are_due() {
    let (broker, subscription) = filled(0).await;
    let (ctx, begun) = (Context::background(), Instant::now());
    let mut source = broker.source(&ctx, &subscription).await.unwrap();
    let sink = broker.sink(&ctx).await.unwrap();
    for seconds in [30, 10, 20] {
        let message = Message::new("").with_id(seconds.to_string());
        let delayed = Outgoing::to_queue("q", message).after(Duration::from_secs(seconds));
        sink.send(&delayed).await.unwrap().await;
    }
    assert_eq!(broker.depth("q").delayed, 3);
    for seconds in [10, 20, 30] {
        let delivery = next(&mut *source).await.remove(0);
        assert_eq!(begun.elapsed(), Duration::from_secs(seconds));
        assert_eq!(delivery.message.id(), seconds.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_at_an_empty_queue_gets_what_another_gives_back() {
    let (broker, subscription) = filled(1).await;
    let ctx = Context::background();
    let mut first = broker.source(&ctx, &subscription).await.unwrap();
    let held = next(&mut *first).await.remove(0);
    let mut second = broker.source(&ctx, &subscription).await.unwrap();
    let waiting = tokio::spawn(async move { next(&mut *second).await.remove(0) });
    tokio::task::yield_now().await;
    first.settle(&[(held.token, Verdict::Release)]).await.unwrap();
    let delivery = waiting.await.unwrap();
    assert_eq!((delivery.message.id(), delivery.redeliveries), ("0", 1));
}

#[tokio::test]
async fn a_message_that_one_queue_of_two_refuses_may_be_in_the_other() {
    let (ctx, broker) = (Context::background(), MemoryBroker::with_longest_queue(1));
    for queue in ["one", "full"] {
        drop(broker.source(&ctx, &Subscription::new(queue).topic("t")).await.unwrap());
    }
    let publisher = Publisher::new(Arc::new(broker.clone()));
    let first = Outgoing::to_queue("full", Message::new(""));
    publisher.publish(&ctx, first).await.unwrap();
    let second = Outgoing::to_topic("t", Message::new(""));
    let error = publisher.publish(&ctx, second).await.unwrap_err();
    assert_eq!((error.kind(), broker.depth("one").ready), (PublishErrorKind::Nacked, 1));
    assert!(!error.is_certainly_unsent());
}

#[tokio::test(start_paused = true)]
async fn what_was_held_back_is_ready_at_its_time_whether_anybody_reads_or_not() {
    let (broker, _subscription) = filled(0).await;
    let publisher = Publisher::new(Arc::new(broker.clone()));
    let delayed = Outgoing::to_topic("t", Message::new("").with_id("later"));
    let delayed = delayed.after(Duration::from_secs(60));
    publisher.publish(&Context::background(), delayed).await.unwrap();
    assert_eq!((broker.depth("q").ready, broker.depth("q").delayed), (0, 1));
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(ids(&broker), ["later"]);
    assert_eq!((broker.depth("q").ready, broker.depth("q").delayed), (1, 0));
}
