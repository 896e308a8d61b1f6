//! Failed messages that cannot be moved to where they belong.

use std::future::{pending, ready};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use downhaul_consumer::headers::{ATTEMPT, FIRST_FAILED};
#[cfg(feature = "testing")]
use downhaul_consumer::testing::FaultyBroker;
use downhaul_consumer::{
    Batches, Broker, BrokerError, Capabilities, Consumer, ConsumerHandle, DeadLetters, Destination,
    Failure, Incoming, MemoryBroker, Message, Outgoing, PublishOutcome, Receipt, Sink, Source,
    State, Subscription,
};
use downhaul_context::{Context, Instant, RequestId};
use downhaul_testkit::capture::Capture;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::time::sleep;
use tracing::Level;

use crate::support::{SECOND, publish, subscription, until};

/// A memory broker in which queues that are published to by name can be closed.
#[derive(Clone, Debug, Default)]
struct Closing {
    memory: MemoryBroker,
    is_closed: Arc<AtomicBool>,
}

impl Closing {
    fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    fn open(&self) {
        self.is_closed.store(false, Ordering::SeqCst);
    }

    async fn spawn(&self, consumer: Consumer, ctx: &Context) -> ConsumerHandle {
        let handle = consumer.spawn(ctx, Arc::new(self.clone()));
        assert_eq!(handle.settled().await, State::Running);
        handle
    }
}

#[async_trait]
impl Broker for Closing {
    fn system(&self) -> &'static str {
        "closing"
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }

    async fn source(
        &self,
        ctx: &Context,
        subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        self.memory.source(ctx, subscription).await
    }

    async fn sink(&self, ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        let (inner, is_closed) = (self.memory.sink(ctx).await?, Arc::clone(&self.is_closed));
        Ok(Arc::new(ClosingSink { inner, is_closed }))
    }

    async fn close(&self, ctx: &Context) {
        self.memory.close(ctx).await;
    }
}

#[derive(Debug)]
struct ClosingSink {
    inner: Arc<dyn Sink>,
    is_closed: Arc<AtomicBool>,
}

#[async_trait]
impl Sink for ClosingSink {
    async fn send(&self, outgoing: &Outgoing) -> Result<Receipt, BrokerError> {
        let is_closed = self.is_closed.load(Ordering::SeqCst);
        if is_closed && matches!(outgoing.destination, Destination::Queue(_)) {
            let words = "there is no such queue".to_owned();
            return Ok(Receipt::resolved(PublishOutcome::Returned(words)));
        }
        self.inner.send(outgoing).await
    }

    async fn close(&self, ctx: &Context) {
        self.inner.close(ctx).await;
    }
}

/// What was handled: id, attempt and time.
type Calls = Arc<Mutex<Vec<(String, u32, Instant)>>>;

/// A handler that notes its calls and fails at ids that begin with `bad`. It waits for ever once it
/// runs in circles, so that the clock moves and the test ends.
fn failing(
    calls: &Calls,
    failure: fn() -> Failure,
) -> impl Fn(Context, Incoming<Message>) -> BoxFuture<'static, Result<(), Failure>> + use<> {
    let calls = Arc::clone(calls);
    move |_, message| {
        let (id, attempt) = (message.id().to_owned(), message.attempt());
        let is_bad = id.starts_with("bad");
        let mut calls = calls.lock().unwrap();
        calls.push((id, attempt, Instant::now()));
        if calls.len() > 1000 {
            return pending().boxed();
        }
        ready(if is_bad { Err(failure()) } else { Ok(()) }).boxed()
    }
}

fn poison() -> Failure {
    Failure::permanent("poison")
}

/// Keeps what the engine logs of its ways in this thread.
fn logged() -> Capture {
    Capture::start(|line| line.target().ends_with("::way"))
}

async fn publish_id(broker: &Closing, id: &'static str) {
    publish(&broker.memory, Message::new("").with_id(id)).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_dead_letter_queue_is_gone_is_tried_a_few_times_a_minute_and_not_lost() {
    let (ctx, _canceller) = Context::root();
    let (broker, calls) = (Closing::default(), Calls::default());
    broker.close();
    let consumer = Consumer::new(subscription(), failing(&calls, poison));
    let handle = broker.spawn(consumer, &ctx).await;
    publish_id(&broker, "bad").await;
    sleep(60 * SECOND).await; // tidy: the clock is paused
    let count = calls.lock().unwrap().len();
    assert!((3..=6).contains(&count), "{count} calls in the first minute");
    sleep(3600 * SECOND).await; // tidy: the clock is paused
    let count = calls.lock().unwrap().len();
    assert!((60..=130).contains(&count), "{count} calls in the first hour");
    let last = handle.snapshot().last_error.unwrap().error;
    assert!(last.contains("no such queue"), "{last}");
    broker.open();
    sleep(60 * SECOND).await; // tidy: the clock is paused
    let (tally, depth) = (handle.tally(), broker.memory.depth("q"));
    assert_eq!((tally.dead_lettered, tally.released, tally.lost), (1, 0, 0));
    assert_eq!((depth.ready + depth.delayed + depth.unsettled), 0);
    let letters = broker.memory.ready("q.dead");
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].headers().get(ATTEMPT), Some("1"), "waiting for it counts as nothing");
    let first: u128 = letters[0].headers().get(FIRST_FAILED).unwrap().parse().unwrap();
    assert!(first > 0);
}

#[tokio::test(start_paused = true)]
async fn that_a_message_has_failed_is_said_once_and_not_at_each_look_for_its_dead_letters() {
    let log = Capture::start(|line| line.target().ends_with("::observer"));
    let (ctx, _canceller) = Context::root();
    let (broker, calls) = (Closing::default(), Calls::default());
    broker.close();
    let consumer = Consumer::new(subscription(), failing(&calls, poison));
    let handle = broker.spawn(consumer, &ctx).await;
    for id in ["bad-1", "bad-2"] {
        publish_id(&broker, id).await;
    }
    sleep(600 * SECOND).await; // tidy: the clock is paused
    broker.open();
    sleep(60 * SECOND).await; // tidy: the clock is paused
    assert_eq!(handle.tally().dead_lettered, 2);
    let levels: Vec<_> = log.lines().into_iter().map(|line| line.level).collect();
    assert_eq!(levels[..2], [Level::ERROR; 2]);
    assert_eq!(levels[2..], vec![Level::DEBUG; levels.len() - 2]);
    assert_eq!(levels.len(), calls.lock().unwrap().len());
}

#[tokio::test(start_paused = true)]
async fn that_messages_cannot_be_moved_is_said_once_and_so_is_that_they_can_again() {
    let log = logged();
    let (ctx, _canceller) = Context::root();
    let (broker, calls) = (Closing::default(), Calls::default());
    broker.close();
    let consumer = Consumer::new(subscription(), failing(&calls, poison));
    let handle = broker.spawn(consumer, &ctx).await;
    for id in ["bad-1", "bad-2", "bad-3"] {
        publish_id(&broker, id).await;
    }
    sleep(600 * SECOND).await; // tidy: the clock is paused
    assert!(calls.lock().unwrap().len() > 20);
    let held_up = handle.snapshot().held_up;
    let [why] = &held_up[..] else { panic!("{held_up:?}") };
    assert!(why.starts_with("cannot move messages to the dead letters: "), "{why}");
    broker.open();
    sleep(60 * SECOND).await; // tidy: the clock is paused
    assert_eq!(handle.tally().dead_lettered, 3);
    assert_eq!(handle.snapshot().held_up, [""; 0]);
    let levels = log.lines().into_iter().map(|line| line.level);
    let loud: Vec<_> = levels.filter(|it| *it < Level::DEBUG).collect();
    assert_eq!(loud, [Level::ERROR, Level::INFO]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_cannot_be_parked_waits_in_hand_as_long_and_counts() {
    let (ctx, _canceller) = Context::root();
    let (broker, calls) = (Closing::default(), Calls::default());
    broker.close();
    let later: fn() -> Failure = || Failure::retry_after(20 * SECOND, "not now");
    let handle = broker.spawn(Consumer::new(subscription(), failing(&calls, later)), &ctx).await;
    publish_id(&broker, "bad").await;
    sleep(70 * SECOND).await; // tidy: the clock is paused
    let calls = std::mem::take(&mut *calls.lock().unwrap());
    let attempts: Vec<_> = calls.iter().map(|call| call.1).collect();
    assert_eq!(attempts, [1, 2, 3, 4]);
    let sooner = calls.windows(2).find(|pair| pair[1].2 - pair[0].2 < 20 * SECOND);
    assert_eq!(sooner, None);
    let tally = handle.tally();
    assert_eq!((tally.retried, tally.released), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn a_key_keeps_its_order_behind_a_message_that_cannot_be_moved_and_others_go_on() {
    let (ctx, _canceller) = Context::root();
    let (broker, calls) = (Closing::default(), Calls::default());
    broker.close();
    let consumer = Consumer::new(subscription(), failing(&calls, poison)).ordered();
    let handle = broker.spawn(consumer, &ctx).await;
    for (id, key) in [("bad", "a"), ("behind", "a"), ("other", "b")] {
        publish(&broker.memory, Message::new("").with_id(id).with_key(key)).await;
    }
    sleep(30 * SECOND).await; // tidy: the clock is paused
    let handled = |calls: &Calls, id| calls.lock().unwrap().iter().any(|call| call.0 == id);
    assert!(handled(&calls, "other") && !handled(&calls, "behind"));
    broker.open();
    sleep(60 * SECOND).await; // tidy: the clock is paused
    assert!(handled(&calls, "behind"));
    assert_eq!((handle.tally().acked, handle.tally().dead_lettered), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_not_held_up_by_one_of_it_that_cannot_be_moved() {
    let (ctx, _canceller) = Context::root();
    let (broker, calls) = (Closing::default(), Calls::default());
    broker.close();
    let one = failing(&calls, poison);
    let handle = move |ctx: Context, batch: Vec<Incoming<Message>>| {
        join_all(batch.into_iter().map(|message| one(ctx.clone(), message)))
    };
    let consumer = Consumer::batches(subscription(), Batches::of(2), handle);
    let handle = broker.spawn(consumer, &ctx).await;
    for id in ["bad", "good-1", "good-2", "good-3"] {
        publish_id(&broker, id).await;
    }
    sleep(60 * SECOND).await; // tidy: the clock is paused
    assert_eq!(handle.tally().acked, 3);
    let bad = calls.lock().unwrap().iter().filter(|call| call.0 == "bad").count();
    assert!((3..=6).contains(&bad), "{bad} calls in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_stops_at_once_though_its_messages_can_be_moved_nowhere() {
    let (ctx, _canceller) = Context::root();
    let (broker, calls) = (Closing::default(), Calls::default());
    broker.close();
    let consumer = Consumer::new(subscription(), failing(&calls, poison));
    let handle = broker.spawn(consumer, &ctx).await;
    publish_id(&broker, "bad").await;
    until(|| handle.snapshot().waiting == 1).await;
    let asked = Instant::now();
    handle.stop();
    assert_eq!(handle.settled().await, State::Stopped);
    assert_eq!(asked.elapsed(), std::time::Duration::ZERO);
    assert_eq!((handle.tally().released, broker.memory.depth("q").ready), (1, 1));
    broker.open();
    handle.start();
    until(|| broker.memory.depth("q.dead").ready == 1).await;
}

/// The broker takes less than it did when the message was published.
#[cfg(feature = "testing")]
#[tokio::test(start_paused = true)]
async fn a_message_that_has_become_too_large_by_itself_stays_in_hand_and_is_told_of() {
    let log = logged();
    let (ctx, _canceller) = Context::root();
    let (memory, calls) = (MemoryBroker::new(), Calls::default());
    let broker = FaultyBroker::over(Arc::new(memory.clone()));
    broker.faults().refuse_larger_than(3);
    let consumer = Consumer::new(subscription(), failing(&calls, poison));
    let handle = consumer.spawn(&ctx, Arc::new(broker.clone()));
    assert_eq!(handle.settled().await, State::Running);
    publish(&memory, Message::new("1234").with_id("bad")).await;
    sleep(60 * SECOND).await; // tidy: the clock is paused
    let count = calls.lock().unwrap().len();
    assert!((3..=6).contains(&count), "{count} calls in the first minute");
    let held_up = handle.snapshot().held_up;
    let [why] = &held_up[..] else { panic!("{held_up:?}") };
    assert!(why.ends_with("a message of 4 bytes was told to be too large"), "{why}");
    broker.faults().refuse_larger_than(4);
    sleep(60 * SECOND).await; // tidy: the clock is paused
    assert_eq!((handle.tally().dead_lettered, handle.snapshot().held_up.len()), (1, 0));
    assert_eq!(memory.ready("q.dead")[0].headers().iter().count(), 0, "there is room for none");
    assert_eq!(log.lines()[0].level, Level::ERROR);
    handle.stop();
    assert_eq!(handle.settled().await, State::Stopped);
    let replaying = ctx.with_value(RequestId::generate());
    let letters = DeadLetters::of("q", Arc::new(broker));
    let replayed = letters.replay(&replaying, 1, |_| true).await.unwrap();
    assert_eq!((replayed.put_back, memory.depth("q").ready), (1, 1));
}
