//! What a dead letter says, and what becomes of it when it is put back.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use downhaul_consumer::headers::{
    ATTEMPT, DEAD_ERROR, DEAD_REASON, DEADLINE, FIRST_FAILED, ORIGIN_QUEUE, TOPIC,
};
use downhaul_consumer::{
    Broker, Consumer, DeadLetters, Failure, Incoming, MemoryBroker, MemoryLog, Message, Outgoing,
    Publisher,
};
use downhaul_context::{Context, Instant, RequestId};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::support::{SECOND, publish, spawn, subscription, until};

async fn send(broker: &MemoryBroker, queue: &'static str, message: Message) {
    let publisher = Publisher::new(Arc::new(broker.clone()));
    publisher.publish(&Context::background(), Outgoing::to_queue(queue, message)).await.unwrap();
}

/// A broker with the queue and that of its letters.
async fn declared() -> MemoryBroker {
    let broker = MemoryBroker::new();
    drop(broker.source(&Context::background(), &subscription()).await.unwrap());
    broker
}

/// The letter of a message, once there is one.
async fn letter_of(broker: &MemoryBroker) -> Message {
    until(|| broker.depth("q.dead").ready == 1).await;
    broker.ready("q.dead").remove(0)
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_is_put_back_loses_what_made_it_one_and_is_else_as_it_came() {
    let broker = declared().await;
    let plain = Message::new("").with_header(TOPIC, "t").with_header("tenant", "acme");
    let marks = [ATTEMPT, DEAD_ERROR, DEAD_REASON, DEADLINE, FIRST_FAILED];
    let marked = |letter: Message, mark| letter.with_header(mark, "7");
    let letter = marks.into_iter().fold(plain.clone(), marked).with_header(ORIGIN_QUEUE, "q");
    send(&broker, "q.dead", letter).await;
    // That of whoever puts it back is not the request that it belongs to.
    let ctx = Context::background().with_value(RequestId::generate());
    DeadLetters::of("q", Arc::new(broker.clone())).replay(&ctx, 1, |_| true).await.unwrap();
    assert_eq!(broker.ready("q"), [plain]);
}

#[tokio::test(start_paused = true)]
async fn a_letter_goes_back_to_where_it_says_that_it_comes_from_or_to_the_queue_of_its_letters() {
    let broker = declared().await;
    send(&broker, "q.dead", Message::new("").with_header(ORIGIN_QUEUE, "q.dead.dead")).await;
    send(&broker, "q.dead", Message::new("")).await;
    let elsewhere = downhaul_consumer::Subscription::new("q.dead");
    drop(broker.source(&Context::background(), &elsewhere).await.unwrap());
    let letters = DeadLetters::of("q", Arc::new(broker.clone()));
    letters.replay(&Context::background(), 2, |_| true).await.unwrap();
    assert_eq!((broker.depth("q").ready, broker.depth("q.dead.dead").ready), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_first_letter_is_waited_for_five_times_as_long_as_those_behind_it() {
    let (ctx, broker) = (Context::background(), declared().await);
    let letters = DeadLetters::of("q", Arc::new(broker.clone()));
    let begun = Instant::now();
    letters.replay(&ctx, 9, |_| true).await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 5);
    send(&broker, "q.dead", Message::new("")).await;
    let begun = Instant::now();
    letters.replay(&ctx, 9, |_| false).await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_letters_that_are_left_are_looked_at_and_no_more() {
    let broker = declared().await;
    for _ in 0..1_001 {
        send(&broker, "q.dead", Message::new("")).await;
    }
    let (letters, begun) = (DeadLetters::of("q", Arc::new(broker.clone())), Instant::now());
    let replayed = letters.replay(&Context::background(), 9, |_| false).await.unwrap();
    assert_eq!((replayed.left, broker.depth("q.dead").ready), (1_000, 1_001));
    assert_eq!(begun.elapsed(), Duration::ZERO, "there is nothing to wait for");
}

#[tokio::test(start_paused = true)]
async fn letters_of_a_log_are_waited_for_also_when_their_lanes_come_first() {
    let (ctx, log) = (Context::background(), MemoryLog::new(1));
    drop(log.source(&ctx, &subscription()).await.unwrap());
    let letters = DeadLetters::of("q", Arc::new(log.clone()));
    let replaying = async { letters.replay(&ctx, 1, |_| true).await.unwrap() };
    let dying = async {
        sleep(4 * SECOND).await; // tidy: on the paused clock
        let letter = Outgoing::to_queue("q.dead", Message::new(""));
        Publisher::new(Arc::new(log.clone())).publish(&ctx, letter).await.unwrap();
    };
    assert_eq!(tokio::join!(replaying, dying).0.put_back, 1);
}

#[tokio::test(start_paused = true)]
async fn letters_that_were_put_back_are_told_of_also_where_they_stay_letters_as_well() {
    let (ctx, log) = (Context::background(), MemoryLog::new(1));
    drop(log.source(&ctx, &subscription()).await.unwrap());
    let publisher = Publisher::new(Arc::new(log.clone()));
    for id in ["left", "behind"] {
        let letter = Outgoing::to_queue("q.dead", Message::new("").with_id(id));
        publisher.publish(&ctx, letter).await.unwrap();
    }
    let letters = DeadLetters::of("q", Arc::new(log));
    let replayed = letters.replay(&ctx, 1, |letter| letter.id() == "behind").await.unwrap();
    assert_eq!((replayed.put_back, replayed.left), (1, 1));
}

/// A consumer that gives every message up, for a reason that is this.
fn refusing(reason: String) -> Consumer {
    let refuse = move |_: Context, _: Incoming<Message>| {
        std::future::ready(Err::<(), _>(Failure::permanent(reason.clone())))
    };
    Consumer::new(subscription(), refuse)
}

#[tokio::test(start_paused = true)]
async fn the_words_of_a_letter_have_a_thousand_bytes_and_end_with_a_whole_character() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let words = format!("a{}", "é".repeat(1_000));
    spawn(refusing(words.clone()), &ctx, &broker).await;
    publish(&broker, Message::new("")).await;
    let letter = letter_of(&broker).await;
    for mark in [DEAD_REASON, DEAD_ERROR] {
        assert_eq!(letter.headers().get(mark), Some(&words[..1_023]), "{mark}");
    }
}

#[cfg(feature = "testing")]
#[tokio::test(start_paused = true)]
async fn a_letter_that_has_little_room_says_a_short_reason_whence_it_is_and_its_attempts() {
    let (ctx, _canceller) = Context::root();
    let memory = MemoryBroker::new();
    let broker = downhaul_consumer::testing::FaultyBroker::over(Arc::new(memory.clone()));
    broker.faults().refuse_larger_than(300);
    let handle = refusing("x".repeat(400)).spawn(&ctx, Arc::new(broker));
    handle.settled().await;
    publish(&memory, Message::new("").with_header(REQUEST, "r-1")).await;
    let letter = letter_of(&memory).await;
    let short = "x".repeat(64);
    let said = [(REQUEST, "r-1"), (DEAD_REASON, &*short), (ORIGIN_QUEUE, "q"), (ATTEMPT, "1")];
    assert!(
        letter.headers().iter().map(|(name, value)| (name, value.as_text().unwrap())).eq(said),
        "{letter:?}"
    );
}

#[cfg(feature = "testing")]
use downhaul_consumer::headers::REQUEST_ID as REQUEST;

#[tokio::test(start_paused = true)]
async fn a_retry_by_way_of_the_broker_keeps_its_topic_and_when_it_failed_first() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (sender, mut seen) = mpsc::unbounded_channel();
    let fail = move |_: Context, message: Incoming<Message>| {
        let has_failed = message.headers().get(FIRST_FAILED).is_some();
        let _ = sender.send((message.topic().map(str::to_owned), has_failed));
        std::future::ready(Err::<(), _>(Failure::retry_after(60 * SECOND, "not yet")))
    };
    spawn(Consumer::new(subscription(), fail), &ctx, &broker).await;
    publish(&broker, Message::new("")).await;
    for is_again in [false, true, true] {
        assert_eq!(seen.recv().await.unwrap(), (Some("t".to_owned()), is_again));
    }
}

#[tokio::test(start_paused = true)]
async fn a_letter_says_when_its_first_attempt_failed_and_not_its_last() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    spawn(refusing("poison".to_owned()), &ctx, &broker).await;
    let failed = Message::new("").with_header(FIRST_FAILED, "7").with_header(ATTEMPT, "2");
    send(&broker, "q", failed).await;
    assert_eq!(letter_of(&broker).await.headers().get(FIRST_FAILED), Some("7"));
}

/// None has failed before the first, whatever somebody else calls so.
#[tokio::test(start_paused = true)]
async fn a_first_attempt_that_fails_is_the_first_that_failed() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    spawn(refusing("poison".to_owned()), &ctx, &broker).await;
    send(&broker, "q", Message::new("").with_header(FIRST_FAILED, "7")).await;
    assert_ne!(letter_of(&broker).await.headers().get(FIRST_FAILED), Some("7"));
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_of_another_queue_begins_with_its_first_attempt() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (sender, mut attempts) = mpsc::unbounded_channel();
    let tell = move |_: Context, message: Incoming<Message>| {
        let _ = sender.send(message.attempt());
        std::future::ready(())
    };
    spawn(Consumer::new(subscription(), tell), &ctx, &broker).await;
    for (origin, attempt) in [("another", 1), ("q", 5)] {
        let letter = Message::new("").with_header(ATTEMPT, "5").with_header(ORIGIN_QUEUE, origin);
        send(&broker, "q", letter).await;
        assert_eq!(attempts.recv().await, Some(attempt));
    }
}

/// A consumer that tells how long its handlers have.
fn telling() -> (Consumer, mpsc::UnboundedReceiver<Duration>) {
    let (sender, left) = mpsc::unbounded_channel();
    let tell = move |ctx: Context, _: Incoming<Message>| {
        let _ = sender.send(ctx.remaining().unwrap());
        std::future::ready(())
    };
    (Consumer::new(subscription(), tell), left)
}

#[tokio::test(start_paused = true)]
async fn clocks_may_differ_by_a_second_before_a_deadline_counts_as_passed() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (consumer, mut left) = telling();
    let handle = spawn(consumer, &ctx, &broker).await;
    // A machine may be too busy to handle one of them within a second.
    for sent in 1..=10 {
        publish(&broker, Message::new("").with_deadline(SystemTime::now())).await;
        until(|| handle.tally().acked + handle.tally().dead_lettered == sent).await;
    }
    assert_eq!(left.try_recv().unwrap(), SECOND);
    let before = broker.depth("q.dead").ready;
    let late = SystemTime::now() - Duration::from_millis(1_500);
    publish(&broker, Message::new("").with_deadline(late)).await;
    until(|| broker.depth("q.dead").ready > before).await;
    let letter = broker.ready("q.dead").remove(before);
    let words = letter.headers().get(DEAD_REASON).unwrap();
    let seconds = words.strip_prefix("expired: its deadline passed ").unwrap();
    let seconds: u64 = seconds.strip_suffix(" s ago").unwrap().parse().unwrap();
    assert!((1..100).contains(&seconds), "{words}");
}

#[tokio::test(start_paused = true)]
async fn a_far_deadline_gives_a_handler_no_more_than_its_timeout() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (consumer, mut left) = telling();
    spawn(consumer.handler_timeout(2 * SECOND), &ctx, &broker).await;
    let far = SystemTime::now() + 3600 * SECOND;
    publish(&broker, Message::new("").with_deadline(far)).await;
    assert_eq!(left.recv().await.unwrap(), 2 * SECOND);
}
