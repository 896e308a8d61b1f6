//! What a publisher may rely on.

use std::time::Duration;

use downhaul_consumer::headers::REQUEST_ID;
use downhaul_consumer::{
    Consumer, Failure, Incoming, Message, Outcome, Outgoing, PublishErrorKind, PublishOutcome,
    Settlement, State,
};
use downhaul_context::{Context, Instant, RequestId};
use tokio::sync::mpsc;

use super::fixture::{next, until};
use super::{Fixture, Harness, Seen};

/// Once a consumer has run, its queue is there also while it is stopped.
pub async fn publishes_before_the_first_delivery_are_kept<H: Harness>(fixture: Fixture<H>) {
    let mut seen = Seen::default();
    let consumer = seen.recording(fixture.subscription("q")).concurrency(1);
    let consumer = fixture.spawn(consumer).await;
    consumer.stop();
    assert_eq!(consumer.settled().await, State::Stopped);
    fixture.publish_numbers("q", 5).await;
    assert!(seen.is_empty());
    consumer.start();
    assert_eq!(seen.take_sorted(5).await, ["0", "1", "2", "3", "4"]);
}

/// Two queues bound to a topic do not share its messages.
pub async fn each_queue_of_a_topic_gets_its_own_copy<H: Harness>(fixture: Fixture<H>) {
    let mut records = Vec::new();
    for queue in ["left", "right"] {
        let seen = Seen::default();
        let subscription = fixture.subscription(queue).topic(fixture.name("shared"));
        fixture.spawn(seen.recording(subscription).ordered()).await;
        records.push(seen);
    }
    // Another copy would come before the second.
    for id in ["one", "two"] {
        fixture.publish_keyed("shared", "a", id).await;
    }
    for seen in &mut records {
        assert_eq!(seen.take(2).await, ["one", "two"]);
    }
}

/// A publisher hears that nobody listens.
pub async fn a_message_no_queue_wants_is_returned<H: Harness>(fixture: Fixture<H>) {
    if fixture.skips("missing topics", fixture.harness.capabilities().missing_topics) {
        return;
    }
    let outgoing = Outgoing::to_topic(fixture.name("nobody"), Message::new("one"));
    let error = fixture.publisher.publish(&fixture.ctx, outgoing).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::Returned);
}

/// An event may have no subscriber, and an answer nobody who still waits for it.
pub async fn an_optional_message_no_queue_wants_is_no_failure<H: Harness>(fixture: Fixture<H>) {
    let (ctx, publisher) = (&fixture.ctx, &fixture.publisher);
    let unwanted = || Outgoing::to_topic(fixture.name("nobody"), Message::new("one")).optional();
    publisher.publish(ctx, unwanted()).await.unwrap();
    publisher.publish_all(ctx, [unwanted(), unwanted()]).await.unwrap();
    let receipt = publisher.send(ctx, unwanted()).await.unwrap();
    assert!(matches!(receipt.await, PublishOutcome::Confirmed));

    let emit = move |_ctx: Context, _message: Incoming<Message>| {
        let unwanted = Outgoing::to_topic("nobody.either", Message::new("two")).optional();
        async move { Outcome::new(Settlement::Ack).emit(unwanted) }
    };
    let consumer = fixture.spawn(Consumer::new(fixture.subscription("q"), emit)).await;
    fixture.publish("q", "one").await;
    until(&consumer, |tally| tally.acked == 1).await;
    assert_eq!(consumer.tally().retried, 0);

    // It is still kept by who wants it.
    let mut seen = Seen::default();
    fixture.spawn(seen.recording(fixture.subscription("wanted"))).await;
    let message = Message::new("").with_id("three");
    let wanted = Outgoing::to_topic(fixture.name("wanted"), message).optional();
    publisher.publish(ctx, wanted).await.unwrap();
    assert_eq!(seen.next().await.0, "three");
}

/// Not before its time; and a short delay does not wait behind a long one.
pub async fn a_delayed_message_comes_later<H: Harness>(fixture: Fixture<H>) {
    if fixture.skips("delay", fixture.capabilities().delay) {
        return;
    }
    let mut seen = Seen::default();
    fixture.spawn(seen.recording(fixture.subscription("q"))).await;
    let sent = Instant::now();
    for (id, delay) in [("later", 1_500), ("sooner", 100)] {
        let message = Message::new("").with_id(id);
        let delayed = Outgoing::to_queue(fixture.name("q"), message);
        let delayed = delayed.after(Duration::from_millis(delay));
        fixture.publisher.publish(&fixture.ctx, delayed).await.unwrap();
    }
    assert_eq!(seen.take(1).await, ["sooner"]);
    assert!(sent.elapsed() >= Duration::from_millis(100));
    assert_eq!(seen.take(1).await, ["later"]);
    assert!(sent.elapsed() >= Duration::from_millis(1_500));
}

/// One id, from the publisher's context to the handler's and into the dead letter.
pub async fn the_request_id_travels_from_publisher_to_dead_letter<H: Harness>(fixture: Fixture<H>) {
    let (sender, mut ids) = mpsc::unbounded_channel();
    let refuse = move |ctx: Context, _message: Incoming<Message>| {
        let _ = sender.send(ctx.value::<RequestId>().cloned());
        async { Err::<(), _>(Failure::permanent("refused")) }
    };
    fixture.spawn(Consumer::new(fixture.subscription("q"), refuse)).await;
    let id = RequestId::generate();
    let ctx = fixture.ctx.with_value(id.clone());
    let outgoing = Outgoing::to_topic(fixture.name("q"), Message::new("one"));
    fixture.publisher.publish(&ctx, outgoing).await.unwrap();
    assert_eq!(ids.recv().await, Some(Some(id.clone())));
    let (message, _) = fixture.dead_letter("q").await;
    assert_eq!(message.headers().get(REQUEST_ID), Some(id.as_str()));
}

/// Sends follow each other without waiting for answers.
pub async fn many_receipts_under_way_resolve_once_each<H: Harness>(fixture: Fixture<H>) {
    const COUNT: usize = 2_000;
    let mut seen = Seen::default();
    fixture.spawn(seen.recording(fixture.subscription("q"))).await;
    let mut receipts = Vec::with_capacity(COUNT);
    for number in 0..COUNT {
        let message = Message::new("").with_id(number.to_string());
        let outgoing = Outgoing::to_topic(fixture.name("q"), message);
        receipts.push(fixture.publisher.send(&fixture.ctx, outgoing).await.unwrap());
    }
    for receipt in receipts {
        assert!(matches!(receipt.await, PublishOutcome::Confirmed));
    }
    let mut ids = seen.take(COUNT).await;
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), COUNT);
}

/// A source never holds more than it may, and goes on when it has settled.
pub async fn prefetch_bounds_what_is_unsettled<H: Harness>(fixture: Fixture<H>) {
    let subscription = fixture.subscription("q").with_prefetch(4);
    let mut source = fixture.broker().source(&fixture.ctx, &subscription).await.unwrap();
    fixture.publish_numbers("q", 10).await;
    let mut deliveries = Vec::new();
    while deliveries.len() < 4 {
        deliveries.extend(next(&mut *source).await);
    }
    assert_eq!(deliveries.len(), 4);
    let more = tokio::time::timeout(Duration::from_millis(200), next(&mut *source)).await;
    assert!(more.is_err(), "a fifth came while four were unsettled");
    let token = deliveries[0].token;
    source.settle(&[(token, downhaul_consumer::Verdict::Ack)]).await.unwrap();
    assert_eq!(next(&mut *source).await.len(), 1);
}

/// Down and up, while the source is open.
pub async fn a_prefetch_can_be_changed<H: Harness>(fixture: Fixture<H>) {
    let subscription = fixture.subscription("q").with_prefetch(8);
    let mut source = fixture.broker().source(&fixture.ctx, &subscription).await.unwrap();
    source.set_prefetch(2).await.unwrap();
    fixture.publish_numbers("q", 10).await;
    let mut unsettled = 0;
    for bound in [2, 5] {
        source.set_prefetch(bound).await.unwrap();
        while unsettled < usize::from(bound) {
            unsettled += next(&mut *source).await.len();
        }
        let more = tokio::time::timeout(Duration::from_millis(200), next(&mut *source)).await;
        assert!(more.is_err() && unsettled == usize::from(bound), "{unsettled} of {bound}");
    }
}
