//! Messages that come twice.

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::inbox::{Claim, Commit, Inbox, MemoryInbox, Ticket};
use downhaul_consumer::{
    Batches, Consumer, Failure, Incoming, MemoryBroker, Message, Outcome, Outgoing, RetryPolicy,
    Settlement, State, StoreError, StoreErrorKind, Subscription,
};
use downhaul_context::{Context, Instant};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::support::{SECOND, publish, spawn, subscription, until};

pub(crate) async fn publish_id(broker: &MemoryBroker, id: &'static str) {
    publish(broker, Message::new("").with_id(id)).await;
}

/// A consumer that notes each call as `id/attempt` and settles as told.
pub(crate) fn noting(
    settle: impl Fn(&Incoming<Message>) -> Settlement + Send + Sync + 'static,
) -> (Consumer, Arc<Mutex<Vec<String>>>) {
    let calls: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&calls);
    let handle = move |_: Context, message: Incoming<Message>| {
        noted.lock().unwrap().push(format!("{}/{}", message.id(), message.attempt()));
        let settlement = settle(&message);
        async move { settlement }
    };
    (Consumer::new(subscription(), handle), calls)
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_processed_is_acknowledged_and_not_handled_again() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (consumer, calls) = noting(|_| Settlement::Ack);
    let handle = spawn(consumer.dedupe(Arc::new(MemoryInbox::new())), &ctx, &broker).await;
    publish_id(&broker, "one").await;
    until(|| handle.tally().acked == 1).await;
    publish_id(&broker, "one").await;
    publish_id(&broker, "two").await;
    until(|| handle.tally().acked == 2 && handle.tally().duplicates == 1).await;
    assert_eq!(*calls.lock().unwrap(), ["one/1", "two/1"]);
}

#[tokio::test(start_paused = true)]
async fn messages_without_an_id_are_no_duplicates_of_each_other() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (consumer, _calls) = noting(|_| Settlement::Ack);
    let handle = spawn(consumer.dedupe(Arc::new(MemoryInbox::new())), &ctx, &broker).await;
    for _ in 0..2 {
        publish_id(&broker, "").await;
    }
    until(|| handle.tally().acked + handle.tally().duplicates == 2).await;
    assert_eq!(handle.tally().duplicates, 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_first_attempt_failed_is_handled_again() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (consumer, calls) = noting(|message| match message.attempt() {
        1 => Settlement::Retry { after: Some(Duration::ZERO) },
        _ => Settlement::Ack,
    });
    let handle = spawn(consumer.dedupe(Arc::new(MemoryInbox::new())), &ctx, &broker).await;
    publish_id(&broker, "one").await;
    until(|| handle.tally().acked == 1).await;
    assert_eq!(*calls.lock().unwrap(), ["one/1", "one/2"]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_is_put_back_is_handled_again() {
    let (ctx, _canceller) = Context::root();
    let (broker, heals) = (MemoryBroker::new(), Arc::new(AtomicU32::new(0)));
    let healed = Arc::clone(&heals);
    let (consumer, calls) = noting(move |_| match healed.load(Ordering::SeqCst) {
        0 => Settlement::DeadLetter { reason: "broken".to_owned() },
        _ => Settlement::Ack,
    });
    let handle = spawn(consumer.dedupe(Arc::new(MemoryInbox::new())), &ctx, &broker).await;
    publish_id(&broker, "one").await;
    until(|| handle.tally().dead_lettered == 1).await;
    heals.store(1, Ordering::SeqCst);
    publish_id(&broker, "one").await;
    until(|| handle.tally().acked == 1).await;
    assert_eq!(*calls.lock().unwrap(), ["one/1", "one/1"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_emitted_is_not_marked_as_processed() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let emit = move |_: Context, _: Incoming<Message>| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Outcome::new(Settlement::Ack).emit(Outgoing::to_topic("wanted", Message::new(""))) }
    };
    let patient = RetryPolicy::default().attempts(100).backoff(SECOND, SECOND);
    let consumer = Consumer::new(subscription(), emit).retry(patient);
    let handle = spawn(consumer.dedupe(Arc::new(MemoryInbox::new())), &ctx, &broker).await;
    publish_id(&broker, "one").await;
    until(|| handle.tally().retried == 1).await;
    // Now somebody wants it.
    let see = |_: Context, _: Incoming<Message>| async {};
    let wanted = Subscription::new("wanted").topic("wanted");
    let other = spawn(Consumer::new(wanted, see), &ctx, &broker).await;
    while handle.tally().acked == 0 {
        tokio::time::advance(SECOND).await;
    }
    until(|| other.tally().acked == 1).await;
    assert!(calls.load(Ordering::SeqCst) > 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_another_holds_is_looked_at_again_without_counting() {
    let (ctx, _canceller) = Context::root();
    let (broker, inbox) = (MemoryBroker::new(), Arc::new(MemoryInbox::new()));
    let Claim::Fresh(ticket) = inbox.claim("q", "one", 60 * SECOND).await.unwrap() else {
        panic!("nobody has it yet");
    };
    let (consumer, calls) = noting(|_| Settlement::Ack);
    let handle = spawn(consumer.dedupe(inbox.clone()), &ctx, &broker).await;
    let begun = Instant::now();
    publish_id(&broker, "one").await;
    until(|| handle.snapshot().waiting == 1).await;
    inbox.release(&ticket).await.unwrap();
    while handle.tally().acked == 0 {
        tokio::time::advance(SECOND).await;
    }
    assert!(begun.elapsed() >= 5 * SECOND && begun.elapsed() < 8 * SECOND);
    assert_eq!(*calls.lock().unwrap(), ["one/1"]);
    assert_eq!(handle.tally().retried, 0);
}

#[tokio::test(start_paused = true)]
async fn each_message_of_a_batch_is_told_from_its_duplicates() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (sender, mut seen) = mpsc::unbounded_channel();
    let handle = move |_: Context, batch: Vec<Incoming<Message>>| {
        let ids: Vec<_> = batch.iter().map(|message| message.id().to_owned()).collect();
        let _ = sender.send(ids);
        async { Ok::<(), Failure>(()) }
    };
    let consumer = Consumer::batches(subscription(), Batches::of(3), handle);
    let handle = spawn(consumer.dedupe(Arc::new(MemoryInbox::new())), &ctx, &broker).await;
    for id in ["one", "two", "three", "two", "four", "one"] {
        publish_id(&broker, id).await;
    }
    until(|| handle.tally().acked == 4 && handle.tally().duplicates == 2).await;
    assert_eq!(seen.recv().await.unwrap(), ["one", "two", "three"]);
    assert_eq!(seen.recv().await.unwrap(), ["four"]);
}

/// An inbox that fails as told. It waits for ever once it is asked in circles, so that the clock
/// moves and the test ends.
#[derive(Debug)]
pub(crate) struct Failing {
    inner: MemoryInbox,
    claims: AtomicU32,
    commits: AtomicU32,
    takes_over: bool,
    asked: AtomicU32,
}

pub(crate) fn failing(claims: u32, commits: u32, takes_over: bool) -> Arc<Failing> {
    let (claims, commits) = (AtomicU32::new(claims), AtomicU32::new(commits));
    let (inner, asked) = (MemoryInbox::new(), AtomicU32::new(0));
    Arc::new(Failing { inner, claims, commits, takes_over, asked })
}

fn fails(left: &AtomicU32) -> Result<(), StoreError> {
    let fails = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    match fails {
        Ok(_) => Err(StoreError::new(StoreErrorKind::Failed, "the disk is away")),
        Err(_) => Ok(()),
    }
}

#[async_trait]
impl Inbox for Failing {
    async fn claim(&self, scope: &str, id: &str, lease: Duration) -> Result<Claim, StoreError> {
        if self.asked.fetch_add(1, Ordering::SeqCst) > 1000 {
            return pending().await;
        }
        fails(&self.claims)?;
        self.inner.claim(scope, id, lease).await
    }

    async fn commit(&self, ticket: &Ticket) -> Result<Commit, StoreError> {
        fails(&self.commits)?;
        if self.takes_over {
            return Ok(Commit::Lost);
        }
        self.inner.commit(ticket).await
    }

    async fn release(&self, ticket: &Ticket) -> Result<(), StoreError> {
        self.inner.release(ticket).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_claimed_waits_in_hand_unhandled() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (consumer, calls) = noting(|_| Settlement::Ack);
    let handle = spawn(consumer.dedupe(failing(2, 0, false)), &ctx, &broker).await;
    publish_id(&broker, "one").await;
    sleep(6 * SECOND).await; // tidy: the clock is paused
    let tally = handle.tally();
    assert_eq!((tally.acked, tally.released, tally.retried), (1, 0, 0));
    assert_eq!(*calls.lock().unwrap(), ["one/1"]);
}

#[tokio::test(start_paused = true)]
async fn an_inbox_that_is_away_is_asked_a_few_times_a_minute() {
    let (ctx, _canceller) = Context::root();
    let (broker, inbox) = (MemoryBroker::new(), failing(u32::MAX, 0, false));
    let (consumer, calls) = noting(|_| Settlement::Ack);
    let handle = spawn(consumer.dedupe(inbox.clone()), &ctx, &broker).await;
    publish_id(&broker, "one").await;
    let asked = || inbox.asked.load(Ordering::SeqCst);
    sleep(60 * SECOND).await; // tidy: the clock is paused
    assert!((3..=6).contains(&asked()), "{} claims in the first minute", asked());
    sleep(3600 * SECOND).await; // tidy: the clock is paused
    assert!((60..=130).contains(&asked()), "{} claims in the first hour", asked());
    let last = handle.snapshot().last_error.unwrap().error;
    assert!(last.contains("the disk is away"), "{last}");
    assert_eq!((handle.tally().released, calls.lock().unwrap().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_not_held_up_by_one_of_it_that_cannot_be_claimed() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let handle = |_: Context, _: Vec<Incoming<Message>>| async { Ok::<(), Failure>(()) };
    let consumer = Consumer::batches(subscription(), Batches::of(2), handle);
    let handle = spawn(consumer.dedupe(failing(1, 0, false)), &ctx, &broker).await;
    for id in ["one", "two"] {
        publish_id(&broker, id).await;
    }
    until(|| handle.tally().acked == 1).await;
    sleep(3 * SECOND).await; // tidy: the clock is paused
    assert_eq!((handle.tally().acked, handle.tally().released), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_marked_as_processed_waits_in_hand_until_it_can() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (consumer, calls) = noting(|_| Settlement::Ack);
    let consumer = consumer.handler_timeout(20 * SECOND).dedupe(failing(0, 1, false));
    let handle = spawn(consumer, &ctx, &broker).await;
    publish_id(&broker, "one").await;
    until(|| handle.snapshot().waiting == 1).await;
    assert_eq!(handle.tally().acked, 0);
    // Its own claim has to run out first.
    sleep(120 * SECOND).await; // tidy: the clock is paused
    assert_eq!((handle.tally().acked, handle.tally().released), (1, 0));
    assert_eq!(*calls.lock().unwrap(), ["one/1", "one/1"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_not_held_up_by_one_of_it_that_cannot_be_marked_as_processed() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let handle = |_: Context, _: Vec<Incoming<Message>>| async { Ok::<(), Failure>(()) };
    let consumer = Consumer::batches(subscription(), Batches::of(2), handle);
    let consumer = consumer.handler_timeout(20 * SECOND).dedupe(failing(0, 1, false));
    let handle = spawn(consumer, &ctx, &broker).await;
    for id in ["one", "two"] {
        publish_id(&broker, id).await;
    }
    until(|| handle.tally().acked == 1 && handle.snapshot().waiting == 1).await;
    sleep(120 * SECOND).await; // tidy: the clock is paused
    assert_eq!((handle.tally().acked, handle.tally().released), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_consumer_stops_at_once_though_its_inbox_is_away() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (consumer, _calls) = noting(|_| Settlement::Ack);
    let inbox = failing(u32::MAX, 0, false);
    let handle = spawn(consumer.dedupe(inbox), &ctx, &broker).await;
    publish_id(&broker, "one").await;
    until(|| handle.snapshot().waiting == 1).await;
    let asked = Instant::now();
    handle.stop();
    assert_eq!(handle.settled().await, State::Stopped);
    assert_eq!(asked.elapsed(), Duration::ZERO);
    assert_eq!(broker.depth("q").delayed, 1, "it keeps what is left of its pause");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_processed_too_late_is_acknowledged_all_the_same() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (consumer, _calls) = noting(|_| Settlement::Ack);
    let handle = spawn(consumer.dedupe(failing(0, 0, true)), &ctx, &broker).await;
    publish_id(&broker, "one").await;
    until(|| handle.tally().acked == 1).await;
}

/// An inbox that never answers the first of these calls.
#[derive(Debug)]
struct Silent {
    to: &'static str,
    inner: MemoryInbox,
    was_silent: AtomicBool,
}

impl Silent {
    async fn hear(&self, call: &str) {
        if call == self.to && !self.was_silent.swap(true, Ordering::SeqCst) {
            pending::<()>().await;
        }
    }
}

#[async_trait]
impl Inbox for Silent {
    async fn claim(&self, scope: &str, id: &str, lease: Duration) -> Result<Claim, StoreError> {
        self.hear("claim").await;
        self.inner.claim(scope, id, lease).await
    }

    async fn commit(&self, ticket: &Ticket) -> Result<Commit, StoreError> {
        self.hear("commit").await;
        self.inner.commit(ticket).await
    }

    async fn release(&self, ticket: &Ticket) -> Result<(), StoreError> {
        self.hear("release").await;
        self.inner.release(ticket).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_inbox_that_does_not_answer_holds_no_place_for_ever() {
    for to in ["claim", "commit", "release"] {
        let (ctx, _canceller) = Context::root();
        let broker = MemoryBroker::new();
        let (consumer, _calls) = noting(|message| match message.attempt() {
            1 => Settlement::Retry { after: Some(Duration::ZERO) },
            _ => Settlement::Ack,
        });
        let inbox = Silent { to, inner: MemoryInbox::new(), was_silent: AtomicBool::new(false) };
        let consumer = consumer.handler_timeout(20 * SECOND).dedupe(Arc::new(inbox));
        let handle = spawn(consumer.concurrency(1), &ctx, &broker).await;
        publish_id(&broker, "one").await;
        // The claim of a call that was given up runs out by itself.
        sleep(120 * SECOND).await; // tidy: the clock is paused
        assert_eq!(handle.tally().acked, 1, "no answer to {to}");
    }
}

/// An inbox of whose claims nothing is left, and another has each of them all the same.
#[derive(Debug, Default)]
struct Rounding(AtomicU32);

#[async_trait]
impl Inbox for Rounding {
    async fn claim(&self, _: &str, _: &str, _: Duration) -> Result<Claim, StoreError> {
        if self.0.fetch_add(1, Ordering::SeqCst) > 1000 {
            // In circles it would hold up the clock for ever.
            return Ok(Claim::Done);
        }
        Ok(Claim::Held { left: Duration::ZERO })
    }

    async fn commit(&self, _: &Ticket) -> Result<Commit, StoreError> {
        Ok(Commit::Kept)
    }

    async fn release(&self, _: &Ticket) -> Result<(), StoreError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn an_inbox_that_knows_no_rest_of_a_second_is_not_asked_in_circles() {
    let (ctx, _canceller) = Context::root();
    let (broker, inbox) = (MemoryBroker::new(), Arc::new(Rounding::default()));
    let (consumer, _calls) = noting(|_| Settlement::Ack);
    spawn(consumer.dedupe(inbox.clone()), &ctx, &broker).await;
    publish_id(&broker, "one").await;
    sleep(SECOND).await; // tidy: the clock is paused
    assert!(inbox.0.load(Ordering::SeqCst) <= 11);
}

/// An inbox that takes its time.
#[derive(Debug, Default)]
struct Slow(MemoryInbox);

#[async_trait]
impl Inbox for Slow {
    async fn claim(&self, scope: &str, id: &str, lease: Duration) -> Result<Claim, StoreError> {
        sleep(4 * SECOND).await; // tidy: the clock is paused
        self.0.claim(scope, id, lease).await
    }

    async fn commit(&self, ticket: &Ticket) -> Result<Commit, StoreError> {
        self.0.commit(ticket).await
    }

    async fn release(&self, ticket: &Ticket) -> Result<(), StoreError> {
        sleep(4 * SECOND).await; // tidy: the clock is paused
        self.0.release(ticket).await
    }
}

#[tokio::test(start_paused = true)]
async fn each_message_of_a_batch_that_is_abandoned_is_counted() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let hang = |_: Context, _: Vec<Incoming<Message>>| pending::<()>();
    let consumer = Consumer::batches(subscription(), Batches::of(3), hang);
    let handle = spawn(consumer.dedupe(Arc::new(Slow::default())), &ctx, &broker).await;
    for id in ["one", "two", "three"] {
        publish_id(&broker, id).await;
    }
    until(|| broker.depth("q").unsettled == 3 && handle.buffered() == 0).await;
    handle.abort();
    assert_eq!(handle.settled().await, State::Stopped);
    assert_eq!((handle.tally().abandoned, broker.depth("q").ready), (3, 3));
}
