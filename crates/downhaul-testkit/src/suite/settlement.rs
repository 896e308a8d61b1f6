//! What becomes of a message.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use downhaul_consumer::headers::{
    ATTEMPT, DEAD_REASON, ORIGIN_OFFSET, ORIGIN_PARTITION, ORIGIN_QUEUE, TIMESTAMP,
};
use downhaul_consumer::{
    Consumer, ConsumerHandle, Delivery, Failure, Incoming, Json, Message, Outcome, Outgoing,
    Position, PublishError, PublishErrorKind, PublishOutcome, RetryPolicy, Settlement, Source,
    Subscription, Verdict,
};
use downhaul_context::{Context, Instant};

use super::fixture::{next, quick_retries, until};
use super::{Fixture, Harness, Seen};

/// Releasing does not count as an attempt.
pub async fn a_released_message_comes_again<H: Harness>(fixture: Fixture<H>) {
    let mut seen = Seen::default();
    let (record, first) = (seen.recorder(), Arc::new(AtomicBool::new(true)));
    let release_once = move |_ctx: Context, message: Incoming<Message>| {
        record(&message);
        let settlement =
            if first.swap(false, Ordering::SeqCst) { Settlement::Release } else { Settlement::Ack };
        async move { settlement }
    };
    fixture.spawn(Consumer::new(fixture.subscription("q"), release_once)).await;
    fixture.publish("q", "one").await;
    assert_eq!(seen.next().await, ("one".to_owned(), 1));
    assert_eq!(seen.next().await, ("one".to_owned(), 1));
}

/// It would go in circles as fast as the broker can.
pub async fn a_message_that_is_released_again_pauses_first_and_is_not_counted<H: Harness>(
    fixture: Fixture<H>,
) {
    let mut seen = Seen::default();
    let (record, times) = (seen.recorder(), Arc::new(Mutex::new(Vec::new())));
    let noted = Arc::clone(&times);
    let release_twice = move |_ctx: Context, message: Incoming<Message>| {
        // Noted before it is released, so that the pause lies between two of them.
        let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.push(Instant::now());
        let settlement = if noted.len() < 3 { Settlement::Release } else { Settlement::Ack };
        record(&message);
        async move { settlement }
    };
    fixture.spawn(Consumer::new(fixture.subscription("q"), release_twice)).await;
    fixture.publish("q", "one").await;
    for _ in 0..3 {
        assert_eq!(seen.next().await, ("one".to_owned(), 1));
    }
    let times = times.lock().unwrap_or_else(PoisonError::into_inner);
    let pause = times[2] - times[1];
    // Of a second, half is left to chance.
    assert!(pause >= Duration::from_millis(500), "{pause:?}");
}

/// Attempts are counted, and the last error is the reason.
pub async fn a_message_that_keeps_failing_is_a_dead_letter_after_its_attempts<H: Harness>(
    fixture: Fixture<H>,
) {
    let mut seen = Seen::default();
    let record = seen.recorder();
    let fail = move |_ctx: Context, message: Incoming<Message>| {
        record(&message);
        async { Err::<(), _>(Failure::from(std::io::Error::other("out of stock"))) }
    };
    let consumer = Consumer::new(fixture.subscription("q"), fail).retry(quick_retries());
    let consumer = fixture.spawn(consumer.ordered()).await;
    fixture.publish_keyed("q", "a", "one").await;
    for attempt in 1..=3 {
        assert_eq!(seen.next().await, ("one".to_owned(), attempt));
    }
    let (message, reason) = fixture.dead_letter("q").await;
    assert_eq!(message.id(), "one");
    assert_eq!(message.headers().get(ATTEMPT), Some("3"));
    assert_eq!(message.headers().get(ORIGIN_QUEUE), Some(&*fixture.name("q")));
    assert!(reason.contains("failed 3 times") && reason.contains("out of stock"), "{reason}");
    until_settled(&consumer).await;
    // A fourth attempt would come before it.
    fixture.publish_keyed("q", "a", "two").await;
    assert_eq!(seen.next().await, ("two".to_owned(), 1));
}

/// A dead letter is there before its message is settled.
async fn until_settled(consumer: &ConsumerHandle) {
    while consumer.tally().dead_lettered < 1 {
        tokio::task::yield_now().await;
    }
}

/// The reason says what is wrong with the body, and where.
pub async fn a_message_that_cannot_be_decoded_is_a_dead_letter<H: Harness>(fixture: Fixture<H>) {
    async fn never(_ctx: Context, _message: Incoming<Json<u32>>) {}
    fixture.spawn(Consumer::new(fixture.subscription("q"), never)).await;
    fixture.publish("q", "{broken").await;
    let (message, reason) = fixture.dead_letter("q").await;
    assert_eq!(message.payload(), "{broken");
    assert!(reason.starts_with("not the JSON expected"), "{reason}");
}

/// And the consumer goes on.
pub async fn a_panic_is_a_dead_letter<H: Harness>(fixture: Fixture<H>) {
    let mut seen = Seen::default();
    let record = seen.recorder();
    let panic_at_one = move |_ctx: Context, message: Incoming<Message>| {
        record(&message);
        async move { assert_ne!(message.id(), "one", "planted") }
    };
    fixture.spawn(Consumer::new(fixture.subscription("q"), panic_at_one).concurrency(1)).await;
    fixture.publish("q", "one").await;
    fixture.publish("q", "two").await;
    assert_eq!(seen.take_sorted(2).await, ["one", "two"]);
    let (_, reason) = fixture.dead_letter("q").await;
    assert!(reason.contains("panicked") && reason.contains("planted"), "{reason}");
}

/// No second attempt is made.
pub async fn a_permanent_failure_is_a_dead_letter_at_once<H: Harness>(fixture: Fixture<H>) {
    let mut seen = Seen::default();
    let record = seen.recorder();
    let refuse = move |_ctx: Context, message: Incoming<Message>| {
        record(&message);
        async { Err::<(), _>(Failure::permanent("no such product")) }
    };
    let consumer = Consumer::new(fixture.subscription("q"), refuse).ordered();
    let consumer = fixture.spawn(consumer).await;
    fixture.publish_keyed("q", "a", "one").await;
    let (message, reason) = fixture.dead_letter("q").await;
    assert_eq!((message.id(), reason.as_str()), ("one", "no such product"));
    until_settled(&consumer).await;
    // A second attempt would come before it.
    fixture.publish_keyed("q", "a", "two").await;
    assert_eq!(seen.take(2).await, ["one", "two"]);
}

/// However little room there is beside it for why it is one.
pub async fn a_message_as_large_as_there_can_be_becomes_a_dead_letter<H: Harness>(
    fixture: Fixture<H>,
) {
    if fixture.skips("largest message", fixture.harness.capabilities().largest) {
        return;
    }
    let refuse = |_ctx: Context, _message: Incoming<Message>| async {
        Err::<(), _>(Failure::permanent("x".repeat(10_000)))
    };
    let consumer = fixture.spawn(Consumer::new(fixture.subscription("q"), refuse)).await;
    let largest = largest(&fixture).await;
    // With no room at all, with some, and with enough for all that is to be said.
    for (room, reason) in [(0, None), (512, Some(64)), (8_192, Some(1_024))] {
        fill(&fixture, "q", format!("{room:04}"), largest - room).await.unwrap();
        let queue = fixture.subscription("q").dead_letter_queue();
        let letter = fixture.read(&queue, 1).await.remove(0).message;
        let length = |name| letter.headers().get(name).map(str::len);
        assert_eq!((length(FILLING), length(DEAD_REASON)), (Some(largest - room), reason));
    }
    until(&consumer, |tally| tally.dead_lettered >= 3).await;
}

/// Also where what is said of its attempts has no room beside it, so that it cannot wait elsewhere.
pub async fn a_message_as_large_as_there_can_be_is_tried_again<H: Harness>(fixture: Fixture<H>) {
    if fixture.skips("largest message", fixture.harness.capabilities().largest) {
        return;
    }
    let mut seen = Seen::default();
    let record = seen.recorder();
    let fail_once = move |_ctx: Context, message: Incoming<Message>| {
        record(&message);
        let again = Failure::retry_after(Duration::from_millis(50), "not yet");
        let result = if message.attempt() == 1 { Err(again) } else { Ok(()) };
        async move { result }
    };
    let parked = RetryPolicy::default().in_place_up_to(Duration::ZERO);
    let consumer = Consumer::new(fixture.subscription("q"), fail_once).retry(parked);
    let consumer = fixture.spawn(consumer).await;
    fill(&fixture, "q", "same", largest(&fixture).await).await.unwrap();
    assert_eq!(seen.next().await, ("same".to_owned(), 1));
    assert_eq!(seen.next().await, ("same".to_owned(), 2));
    until(&consumer, |tally| tally.acked >= 1).await;
    assert_eq!(consumer.snapshot().held_up, [""; 0], "there is nothing to be mended");
}

/// The header that makes a message large: some brokers bound the payload by itself.
const FILLING: &str = "filling";

/// Publishes a message with so much in a header.
async fn fill<H: Harness>(
    fixture: &Fixture<H>,
    topic: &str,
    id: impl ToString,
    filling: usize,
) -> Result<(), PublishError> {
    let message = Message::new("").with_id(id.to_string());
    let message = message.with_header(FILLING, "x".repeat(filling));
    let outgoing = Outgoing::to_topic(fixture.name(topic), message);
    fixture.publisher.publish(&fixture.ctx, outgoing).await
}

/// How much a header can hold of a message that is not too large yet, and has an id of 4 bytes.
async fn largest<H: Harness>(fixture: &Fixture<H>) -> usize {
    let unread = fixture.subscription("unread");
    drop(fixture.broker().source(&fixture.ctx, &unread).await.unwrap());
    let (mut fits, mut is_too_large) = (0, 2 << 20);
    while fits + 1 < is_too_large {
        let filling = usize::midpoint(fits, is_too_large);
        match fill(fixture, "unread", "none", filling).await {
            Ok(()) => fits = filling,
            Err(error) => {
                assert_eq!(error.kind(), PublishErrorKind::Refused);
                is_too_large = filling;
            }
        }
    }
    fits
}

/// A delay too long to wait for in place goes by way of the broker; other queues of the topic do
/// not see it.
pub async fn a_parked_retry_comes_back_to_its_own_queue_alone<H: Harness>(fixture: Fixture<H>) {
    if fixture.skips("delay", fixture.capabilities().delay) {
        return;
    }
    let (mut failing, mut other) = (Seen::default(), Seen::default());
    let record = failing.recorder();
    let fail_once = move |_ctx: Context, message: Incoming<Message>| {
        record(&message);
        let first = message.attempt() == 1;
        async move {
            let again = Failure::retry_after(Duration::from_millis(50), "not yet");
            if first { Err(again) } else { Ok(()) }
        }
    };
    let parked = RetryPolicy::default().in_place_up_to(Duration::ZERO);
    fixture.spawn(Consumer::new(fixture.subscription("q"), fail_once).retry(parked)).await;
    let neighbour = fixture.subscription("neighbour").topic(fixture.name("q"));
    fixture.spawn(other.recording(neighbour).ordered()).await;
    fixture.publish_keyed("q", "a", "one").await;
    assert_eq!(failing.next().await, ("one".to_owned(), 1));
    assert_eq!(failing.next().await, ("one".to_owned(), 2));
    // The retry would come before it.
    fixture.publish_keyed("q", "a", "two").await;
    assert_eq!(other.take(2).await, ["one", "two"]);
}

/// Others have keys that are numbers, and headers that a serializer made.
pub async fn what_is_no_text_is_kept_by_retries_and_dead_letters<H: Harness>(fixture: Fixture<H>) {
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let fail = move |_ctx: Context, message: Incoming<Message>| {
        let _ = sender.send((message.attempt(), message.body.clone()));
        let again = Failure::retry_after(Duration::from_millis(50), "not yet");
        let failure = if message.attempt() == 1 { again } else { Failure::permanent("never") };
        async move { Err::<(), _>(failure) }
    };
    // Where the broker cannot delay, it waits in place.
    let parked = RetryPolicy::default().in_place_up_to(Duration::ZERO);
    fixture.spawn(Consumer::new(fixture.subscription("q"), fail).retry(parked).ordered()).await;
    let (key, value) = (200_i64.to_be_bytes(), [0, 0xff, b'a']);
    let message = Message::new("1").with_key_bytes(key).with_header("schema", value);
    let outgoing = Outgoing::to_topic(fixture.name("q"), message);
    fixture.publisher.publish(&fixture.ctx, outgoing).await.expect("confirmed");
    let is_kept = |message: &Message| {
        assert_eq!(message.key_bytes(), Some(key.as_slice()));
        assert_eq!(message.headers().get_bytes("schema"), Some(value.as_slice()));
    };
    for expected in [1, 2] {
        let (attempt, message) = seen.recv().await.unwrap();
        assert_eq!(attempt, expected);
        is_kept(&message);
    }
    is_kept(&fixture.dead_letter("q").await.0);
}

/// What a broker says of a message is the same after its topic is not where it comes from.
pub async fn what_comes_back_tells_where_and_when_it_was_published_first<H: Harness>(
    fixture: Fixture<H>,
) {
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let fail = move |_ctx: Context, message: Incoming<Message>| {
        let topic = message.topic().map(str::to_owned);
        let _ = sender.send((topic, message.position(), message.timestamp()));
        let again = Failure::retry_after(Duration::from_millis(50), "not yet");
        let failure = if message.attempt() == 1 { again } else { Failure::permanent("never") };
        async move { Err::<(), _>(failure) }
    };
    let parked = RetryPolicy::default().in_place_up_to(Duration::ZERO);
    fixture.spawn(Consumer::new(fixture.subscription("q"), fail).retry(parked)).await;
    fixture.publish("q", "one").await;
    let first = seen.recv().await.unwrap();
    assert_eq!(first.0, Some(fixture.name("q")));
    assert_eq!(first.1.is_some(), fixture.capabilities().lanes, "{first:?}");
    assert_eq!(seen.recv().await.unwrap(), first);
    let (letter, _) = fixture.dead_letter("q").await;
    let number = |name| letter.headers().get(name).and_then(|text| text.parse::<u64>().ok());
    let position = first.1.map(|Position { partition, offset }| (u64::from(partition), offset));
    assert_eq!(number(ORIGIN_PARTITION).zip(number(ORIGIN_OFFSET)), position);
    let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(number(TIMESTAMP).map(Duration::from_millis), first.2.map(since));
}

/// Others may mean something else by that name, and a first attempt is the first here.
pub async fn a_message_of_a_topic_begins_with_its_first_attempt<H: Harness>(fixture: Fixture<H>) {
    let mut seen = Seen::default();
    fixture.spawn(seen.recording(fixture.subscription("q"))).await;
    let message = Message::new("").with_id("one").with_header(ATTEMPT, "7");
    // By a publisher it would be taken off.
    let sink = fixture.broker().sink(&fixture.ctx).await.unwrap();
    let receipt = sink.send(&Outgoing::to_topic(fixture.name("q"), message)).await.unwrap();
    assert!(matches!(receipt.await, PublishOutcome::Confirmed));
    assert_eq!(seen.next().await, ("one".to_owned(), 1));
    sink.close(&fixture.ctx).await;
}

/// Nothing is given up there, and what is declared for that would stay.
pub async fn who_looks_at_dead_letters_declares_nothing_for_them<H: Harness>(fixture: Fixture<H>) {
    if fixture.skips("missing topics", fixture.harness.capabilities().missing_topics) {
        return;
    }
    let letters = Subscription::dead_letters_of(fixture.name("q"));
    let source = fixture.broker().source(&fixture.ctx, &letters).await.unwrap();
    let to = |queue: String| {
        let outgoing = Outgoing::to_queue(queue, Message::new(""));
        fixture.publisher.publish(&fixture.ctx, outgoing)
    };
    to(letters.queue().to_owned()).await.unwrap();
    let error = to(letters.dead_letter_queue()).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::Returned, "{error}");
    source.close(&fixture.ctx).await.unwrap();
}

/// A message whose emitted one cannot be confirmed is not acknowledged.
pub async fn what_a_handler_emits_is_confirmed_before_the_ack<H: Harness>(fixture: Fixture<H>) {
    if fixture.skips("missing topics", fixture.harness.capabilities().missing_topics) {
        return;
    }
    let mut seen = Seen::default();
    let (wanted, unwanted) = (fixture.name("wanted"), fixture.name("unwanted"));
    let emit = move |_ctx: Context, message: Incoming<Message>| {
        let topic = if message.id() == "good" { wanted.clone() } else { unwanted.clone() };
        let emitted = Message::new("").with_id(format!("{}.emitted", message.id()));
        async move { Outcome::new(Settlement::Ack).emit(Outgoing::to_topic(topic, emitted)) }
    };
    fixture.spawn(seen.recording(fixture.subscription("wanted"))).await;
    let emitter = Consumer::new(fixture.subscription("q"), emit).retry(quick_retries());
    fixture.spawn(emitter).await;
    fixture.publish("q", "good").await;
    fixture.publish("q", "bad").await;
    assert_eq!(seen.take(1).await, ["good.emitted"]);
    let (message, reason) = fixture.dead_letter("q").await;
    assert_eq!(message.id(), "bad");
    assert!(reason.contains("no queue"), "{reason}");
}

/// Whoever settles it again is told that it is late, and the link lives.
pub async fn a_delivery_is_settled_once<H: Harness>(fixture: Fixture<H>) {
    let subscription = fixture.subscription("q");
    let mut source = fixture.broker().source(&fixture.ctx, &subscription).await.unwrap();
    fixture.publish("q", "one").await;
    let token = next(&mut *source).await[0].token;
    let settled = source.settle(&[(token, Verdict::Ack)]).await.unwrap();
    assert_eq!(settled.lost, []);
    let settled = source.settle(&[(token, Verdict::Release)]).await.unwrap();
    assert_eq!(settled.lost, [token]);
    fixture.publish("q", "two").await;
    let second = next(&mut *source).await;
    assert_eq!((second.len(), second[0].message.id()), (1, "two"), "nothing came again");
}

/// An acknowledgement is for its own message, and for none before it.
pub async fn what_is_unfinished_comes_again_whatever_was_acknowledged_around_it<H: Harness>(
    fixture: Fixture<H>,
) {
    const COUNT: usize = 9;
    let subscription = fixture.subscription("q").with_prefetch(20);
    let open = async || fixture.broker().source(&fixture.ctx, &subscription).await.unwrap();
    let mut source = open().await;
    fixture.publish_numbers("q", 9).await;
    let all = take(&mut *source, COUNT).await;
    // From the last to the first, every other one.
    let finished = all.iter().rev().filter(|delivery| is_finished(delivery));
    let batch: Vec<_> = finished.map(|delivery| (delivery.token, Verdict::Ack)).collect();
    source.settle(&batch).await.unwrap();
    // A log repeats what was finished beyond an unfinished one, and may say so; nobody else does.
    let repeats = fixture.capabilities().lanes;
    let closed = source.close(&fixture.ctx).await;
    assert!(repeats || closed.is_ok(), "{closed:?}");
    let mut source = open().await;
    let mut unfinished = COUNT - batch.len();
    while unfinished > 0 {
        for delivery in next(&mut *source).await {
            assert!(repeats || !is_finished(&delivery), "{}", delivery.message.id());
            unfinished -= usize::from(!is_finished(&delivery));
        }
    }
}

fn is_finished(delivery: &Delivery) -> bool {
    delivery.message.id().parse::<u32>().unwrap().is_multiple_of(2)
}

/// Deliveries, until there are so many.
async fn take(source: &mut dyn Source, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    while deliveries.len() < count {
        deliveries.extend(next(source).await);
    }
    deliveries
}
