//! Messages that fail, and what the application says of them.

use std::num::ParseIntError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use downhaul_consumer::headers::{DEAD_ERROR, DEAD_REASON, FIRST_FAILED, ORIGIN_QUEUE, TOPIC};
use downhaul_consumer::inbox::MemoryInbox;
use downhaul_consumer::{
    Batches, Broker, Consumer, DeadLetters, Decode, DecodeError, Failure, Incoming, Json,
    MemoryBroker, Message, MessageObserver, Meta, Outgoing, Processed, Publisher, ReplayError,
    RetryPolicy, Settlement, Tally,
};
use downhaul_context::Context;
use tokio::sync::mpsc;
use tracing::Span;

use crate::support::{SECOND, publish, publish_numbers, spawn, subscription, until};

#[tokio::test(start_paused = true)]
async fn the_application_classifies_errors_that_handlers_did_not() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let parse = |_: Context, message: Incoming<Message>| async move {
        let _: u32 = message.id().parse()?;
        Ok::<(), Failure>(())
    };
    let consumer = Consumer::new(subscription(), parse).classify(|error| {
        let reason = error.is::<ParseIntError>().then(|| format!("not a number: {error}"))?;
        Some(Settlement::DeadLetter { reason })
    });
    spawn(consumer, &ctx, &broker).await;
    publish(&broker, Message::new("").with_id("x")).await;
    until(|| broker.depth("q.dead").ready == 1).await;
    let dead = broker.ready("q.dead").remove(0);
    let reason = dead.headers().get(DEAD_REASON);
    assert_eq!(reason, Some("not a number: invalid digit found in string"));
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_says_where_it_was_and_what_went_wrong_first_and_last() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let fail = |_: Context, _: Incoming<Message>| async {
        Err::<(), _>(Failure::from(std::io::Error::other("out of stock")))
    };
    let twice = RetryPolicy::default().attempts(2).backoff(Duration::ZERO, Duration::ZERO);
    spawn(Consumer::new(subscription(), fail).retry(twice), &ctx, &broker).await;
    let before = unix_millis();
    publish(&broker, Message::new("")).await;
    until(|| broker.depth("q.dead").ready == 1).await;
    let dead = broker.ready("q.dead").remove(0);
    let header = |name| dead.headers().get(name).unwrap();
    assert_eq!((header(ORIGIN_QUEUE), header(TOPIC)), ("q", "t"));
    assert_eq!(header(DEAD_ERROR), "out of stock");
    assert!((before..=unix_millis()).contains(&header(FIRST_FAILED).parse().unwrap()));
}

fn unix_millis() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_deadline_has_passed_is_a_dead_letter_and_its_handler_is_not_called() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let never = |_: Context, _: Incoming<Message>| async { unreachable!("it has expired") };
    let never = Consumer::new(subscription(), move |ctx, message| {
        let never = never(ctx, message);
        async move {
            let () = never.await;
        }
    });
    spawn(never, &ctx, &broker).await;
    publish(&broker, Message::new("").with_deadline(SystemTime::now() - 5 * SECOND)).await;
    until(|| broker.depth("q.dead").ready == 1).await;
    let dead = broker.ready("q.dead").remove(0);
    assert!(dead.headers().get(DEAD_REASON).unwrap().starts_with("expired"));
}

#[tokio::test(start_paused = true)]
async fn a_handler_has_no_more_time_than_its_message() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (sender, mut left) = mpsc::unbounded_channel();
    let tell = move |ctx: Context, _: Incoming<Message>| {
        let _ = sender.send(ctx.remaining().unwrap());
        async {}
    };
    let consumer = Consumer::new(subscription(), tell).handler_timeout(60 * SECOND);
    spawn(consumer, &ctx, &broker).await;
    publish(&broker, Message::new("").with_deadline(SystemTime::now() + 10 * SECOND)).await;
    // One second more, in case the clocks of two machines differ.
    let bounded = left.recv().await.unwrap();
    assert!(bounded > 9 * SECOND && bounded <= 11 * SECOND, "{bounded:?}");
    publish(&broker, Message::new("").with_header("deadline-ms", "tomorrow")).await;
    assert_eq!(left.recv().await.unwrap(), 60 * SECOND, "what cannot be read is no deadline");
}

/// Panics where it is told to.
#[derive(Debug)]
struct Panicking(&'static str);

impl MessageObserver for Panicking {
    fn process(&self, ctx: Context, meta: &Meta) -> (Context, Span) {
        assert!(self.0 != "process" || meta.redeliveries > 0, "planted");
        (ctx, Span::none())
    }

    fn processed(&self, attempt: &Processed<'_>) {
        assert!(self.0 != "processed" || attempt.meta.redeliveries > 0, "planted");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_panics_costs_the_message_another_delivery_and_the_consumer_nothing() {
    for hook in ["process", "processed"] {
        let (ctx, _canceller) = Context::root();
        let broker = MemoryBroker::new();
        let handle = |_: Context, _: Incoming<Message>| async {};
        let consumer = Consumer::new(subscription(), handle).observer(Arc::new(Panicking(hook)));
        let handle = spawn(consumer, &ctx, &broker).await;
        publish(&broker, Message::new("")).await;
        until(|| handle.tally().acked == 1).await;
        assert_eq!(handle.tally().released, 1, "{hook}");
    }
}

/// Panics a thousand times, and no more: in circles it would hold up the clock for ever.
#[derive(Debug, Default)]
struct Hopeless(AtomicUsize);

impl MessageObserver for Hopeless {
    fn process(&self, ctx: Context, _: &Meta) -> (Context, Span) {
        assert!(self.0.fetch_add(1, Ordering::SeqCst) > 1000, "planted");
        (ctx, Span::none())
    }

    fn process_batch(&self, ctx: Context, batch: &[Meta]) -> (Context, Span) {
        self.process(ctx, &batch[0])
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_hook_panics_again_and_again_pauses_in_between() {
    let one = || Consumer::new(subscription(), |_: Context, _: Incoming<Message>| async {});
    let many = |_: Context, _: Vec<Incoming<Message>>| async {};
    let many = Consumer::batches(subscription(), Batches::of(1), many);
    for consumer in [one(), one().dedupe(Arc::new(MemoryInbox::new())), many] {
        let (ctx, _canceller) = Context::root();
        let (broker, hook) = (MemoryBroker::new(), Arc::new(Hopeless::default()));
        spawn(consumer.observer(hook.clone()), &ctx, &broker).await;
        publish(&broker, Message::new("")).await;
        tokio::time::sleep(60 * SECOND).await; // tidy: the clock is paused
        let calls = hook.0.load(Ordering::SeqCst);
        assert!((3..10).contains(&calls), "{calls} calls in a minute");
    }
}

#[tokio::test(start_paused = true)]
async fn many_messages_are_published_at_a_time_and_the_first_failure_is_told() {
    let (broker, ctx) = (MemoryBroker::new(), Context::background());
    let handle = |_: Context, _: Incoming<Message>| async {};
    let consumer = spawn(Consumer::new(subscription(), handle), &ctx, &broker).await;
    let publisher = Publisher::new(Arc::new(broker.clone()));
    let to = |topic: &'static str| Outgoing::to_topic(topic, Message::new(""));
    publisher.publish_all(&ctx, [to("t"), to("t")]).await.unwrap();
    let error = publisher.publish_all(&ctx, [to("t"), to("nobody"), to("t")]).await.unwrap_err();
    assert!(error.to_string().contains("no queue"), "{error}");
    until(|| consumer.tally().acked == 4).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_may_have_brought_down_its_consumers_is_handled_alone() {
    let (ctx, canceller) = Context::root();
    let broker = MemoryBroker::new();
    let now = Arc::new(AtomicUsize::new(0));
    let (sender, mut seen) = mpsc::unbounded_channel();
    let handle = move |_: Context, message: Incoming<Message>| {
        let (now, sender) = (Arc::clone(&now), sender.clone());
        async move {
            let others = now.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            let _ = sender.send((message.id().to_owned(), others, now.load(Ordering::SeqCst)));
            now.fetch_sub(1, Ordering::SeqCst);
        }
    };
    publish_suspect(&broker, 3).await;
    publish_numbers(&broker, 12).await;
    let consumer = Consumer::new(subscription(), handle).concurrency(4);
    let handle = spawn(consumer, &ctx, &broker).await;
    until(|| handle.tally().acked == 14).await;
    let mut most = 0;
    for _ in 0..14 {
        let (id, before, after) = seen.recv().await.unwrap();
        most = most.max(after);
        if id == "suspect" {
            assert_eq!((before, after), (0, 1), "others at the same time");
        }
    }
    assert_eq!(most, 4, "nobody else is alone");
    canceller.cancel();
}

/// Puts two messages into the queue, of which the second was delivered so often and never settled.
async fn publish_suspect(broker: &MemoryBroker, times: u32) {
    let ctx = Context::background();
    let one = subscription().with_prefetch(1);
    let mut first = broker.source(&ctx, &one).await.unwrap();
    for id in ["first", "suspect"] {
        publish(broker, Message::new("").with_id(id)).await;
    }
    first.next(&mut Vec::new()).await.unwrap();
    for _ in 0..times {
        let mut source = broker.source(&ctx, &one).await.unwrap();
        let mut events = Vec::new();
        source.next(&mut events).await.unwrap();
        assert_eq!(events.remove(0).into_delivery().unwrap().message.id(), "suspect");
    }
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_put_back_as_they_were() {
    let (ctx, _canceller) = Context::root();
    let (broker, fails) = (MemoryBroker::new(), Arc::new(AtomicBool::new(true)));
    let failing = Arc::clone(&fails);
    let (sender, mut seen) = mpsc::unbounded_channel();
    let handle = move |_: Context, message: Incoming<Message>| {
        let fails = failing.load(Ordering::SeqCst);
        let _ = sender.send((message.attempt(), message.topic().map(str::to_owned)));
        let down = || Failure::retry_after(Duration::ZERO, "the shop is down");
        async move { if fails { Err(down()) } else { Ok(()) } }
    };
    let twice = RetryPolicy::default().attempts(2);
    let handle = spawn(Consumer::new(subscription(), handle).retry(twice), &ctx, &broker).await;
    publish_numbers(&broker, 4).await;
    until(|| handle.tally().dead_lettered == 4).await;
    let letters = DeadLetters::of("q", Arc::new(broker.clone()));
    fails.store(false, Ordering::SeqCst);
    let replayed = letters.replay(&ctx, 2, |letter| letter.id() != "0").await.unwrap();
    assert_eq!((replayed.put_back, replayed.left), (2, 2));
    until(|| handle.tally().acked == 2).await;
    let mut attempts = Vec::new();
    for _ in 0..10 {
        let (attempt, topic) = seen.recv().await.unwrap();
        assert_eq!(topic.as_deref(), Some("t"));
        attempts.push(attempt);
    }
    assert_eq!(attempts[8..], [1, 1], "a first attempt again");
    let ids: Vec<_> = broker.ready("q.dead").iter().map(|one| one.id().to_owned()).collect();
    assert_eq!(ids, ["0", "3"]);
    let again = letters.replay(&ctx, 10, |_| true).await.unwrap();
    assert_eq!((again.put_back, again.left), (2, 0));
    until(|| handle.tally().acked == 4).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_cannot_be_put_back_stays_one() {
    let ctx = Context::background();
    let broker = MemoryBroker::new();
    drop(broker.source(&ctx, &subscription()).await.unwrap());
    let letter = Message::new("").with_header(ORIGIN_QUEUE, "gone");
    let publisher = Publisher::new(Arc::new(broker.clone()));
    publisher.publish(&ctx, Outgoing::to_queue("q.dead", letter)).await.unwrap();
    let letters = DeadLetters::of("q", Arc::new(broker.clone()));
    let error = letters.replay(&ctx, 10, |_| true).await.unwrap_err();
    assert!(matches!(error, ReplayError::Publish(_)), "{error}");
    assert_eq!(broker.depth("q.dead").ready, 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_has_classified_is_not_classified_again() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let fail = |_: Context, message: Incoming<Message>| async move {
        match message.id() {
            "0" => Err(Failure::permanent("hopeless")),
            "1" if message.attempt() == 1 => Err(Failure::retry_after(Duration::ZERO, "soon")),
            _ => Ok(()),
        }
    };
    let drop_all = |_: &(dyn std::error::Error + 'static)| {
        Some(Settlement::Drop { reason: "whatever it is".to_owned() })
    };
    let handle = spawn(Consumer::new(subscription(), fail).classify(drop_all), &ctx, &broker).await;
    publish_numbers(&broker, 2).await;
    until(|| handle.tally().acked == 1).await;
    let tally = handle.tally();
    assert_eq!((tally.dead_lettered, tally.retried, tally.dropped), (1, 1, 0));
}

/// As one that the engine decodes.
#[tokio::test(start_paused = true)]
async fn what_a_handler_cannot_decode_itself_is_a_dead_letter_at_once() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let decode = |_: Context, message: Incoming<Message>| async move {
        let Json(_number) = Json::<u64>::decode(&message.body)?;
        Ok::<(), Failure>(())
    };
    let handle = spawn(Consumer::new(subscription(), decode), &ctx, &broker).await;
    publish(&broker, Message::new("no JSON")).await;
    until(|| handle.tally() != Tally::default()).await;
    assert_eq!((handle.tally().dead_lettered, handle.tally().retried), (1, 0));
}

/// What cannot be decoded, and not even be refused.
#[derive(Debug)]
struct Fragile;

impl Decode for Fragile {
    fn decode(_: &Message) -> Result<Self, DecodeError> {
        panic!("planted");
    }
}

#[tokio::test(start_paused = true)]
async fn a_decoder_that_panics_is_not_taken_for_the_handler() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let unreached = |_: Context, _: Incoming<Fragile>| async {};
    let handle = spawn(Consumer::new(subscription(), unreached), &ctx, &broker).await;
    publish(&broker, Message::new("")).await;
    until(|| handle.tally().dead_lettered == 1).await;
    let reason = broker.ready("q.dead")[0].headers().get(DEAD_REASON).map(str::to_owned);
    assert_eq!(reason.as_deref(), Some("the decoder panicked: planted"));
}

#[tokio::test(start_paused = true)]
async fn an_error_on_which_the_classifier_panics_is_a_dead_letter() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let fail = |_: Context, _: Incoming<Message>| async {
        Err::<(), _>(Failure::from(std::io::Error::other("out of stock")))
    };
    let consumer = Consumer::new(subscription(), fail).classify(|_| panic!("planted"));
    let handle = spawn(consumer, &ctx, &broker).await;
    publish(&broker, Message::new("")).await;
    until(|| handle.tally() != Tally::default()).await;
    assert_eq!((handle.tally().dead_lettered, handle.tally().released), (1, 0));
    let dead = broker.ready("q.dead").remove(0);
    let header = |name| dead.headers().get(name).unwrap();
    assert_eq!(
        (header(DEAD_REASON), header(DEAD_ERROR)),
        ("the classifier panicked", "out of stock")
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_comes_back_while_others_are_put_back_stays_one() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let refuse = |_: Context, _: Incoming<Message>| async {
        Err::<(), _>(Failure::permanent("out of stock"))
    };
    let handle = spawn(Consumer::new(subscription(), refuse), &ctx, &broker).await;
    publish_numbers(&broker, 3).await;
    until(|| handle.tally().dead_lettered == 3).await;
    let letters = DeadLetters::of("q", Arc::new(broker.clone()));
    let replayed = letters.replay(&ctx, 100, |_| true).await.unwrap();
    assert_eq!((replayed.put_back, replayed.left, replayed.failed_again), (3, 0, 3));
    assert_eq!(broker.depth("q.dead").ready, 3);
}
