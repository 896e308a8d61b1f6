//! Start, pause, resume, drain and stop, at run time.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use downhaul_consumer::{Consumer, ConsumerHandle, Failure, Incoming, Message, State};
use downhaul_context::Context;
use tokio::sync::{OnceCell, Semaphore};

use super::fixture::until;
use super::{Fixture, Harness, Seen};

/// A gate that handlers wait at, and the record of those who came to it.
struct Gate {
    seen: Seen,
    open: Arc<Semaphore>,
}

impl Gate {
    fn new() -> Self {
        Self { seen: Seen::default(), open: Arc::new(Semaphore::new(0)) }
    }

    /// A consumer whose handlers record their message and wait, under their context, to be let
    /// through.
    fn consumer<H: Harness>(&self, fixture: &Fixture<H>) -> Consumer {
        let (record, open) = (self.seen.recorder(), Arc::clone(&self.open));
        let wait = move |ctx: Context, message: Incoming<Message>| {
            record(&message);
            let open = Arc::clone(&open);
            async move {
                ctx.run(open.acquire()).await??.forget();
                Ok::<(), Failure>(())
            }
        };
        Consumer::new(fixture.subscription("q"), wait)
    }

    fn let_through(&self, count: usize) {
        self.open.add_permits(count);
    }
}

async fn stopped(handle: &ConsumerHandle) {
    assert_eq!(handle.settled().await, State::Stopped);
}

async fn until_buffered(handle: &ConsumerHandle) {
    while handle.buffered() < 1 {
        tokio::task::yield_now().await;
    }
}

/// Once paused, nothing begins; what was begun goes on.
pub async fn a_paused_consumer_starts_nothing<H: Harness>(fixture: Fixture<H>) {
    const COUNT: u32 = 50;
    let (mut gate, mut witness) = (Gate::new(), Seen::default());
    let neighbour = fixture.subscription("neighbour").topic(fixture.name("q"));
    fixture.spawn(witness.recording(neighbour)).await;
    let consumer = fixture.spawn(gate.consumer(&fixture).concurrency(1)).await;
    fixture.publish("q", "begun").await;
    assert_eq!(gate.seen.take(1).await, ["begun"]);
    fixture.publish("q", "arrived").await;
    until_buffered(&consumer).await;
    consumer.pause();
    assert_eq!(consumer.settled().await, State::Paused);
    gate.let_through(100);
    until(&consumer, |tally| tally.acked + tally.released >= 2).await;
    assert_eq!(consumer.tally().acked, 1, "what had arrived was not begun");
    fixture.publish_numbers("q", COUNT).await;
    // Who is not paused has handled them all by now.
    witness.take(COUNT as usize + 2).await;
    assert!(gate.seen.is_empty(), "with room for all of them");
    assert_eq!(consumer.status().state, State::Paused);
}

/// And loses nothing.
pub async fn a_paused_consumer_resumes<H: Harness>(fixture: Fixture<H>) {
    let mut gate = Gate::new();
    gate.let_through(100);
    let consumer = fixture.spawn(gate.consumer(&fixture)).await;
    for round in 0..3 {
        consumer.pause();
        assert_eq!(consumer.settled().await, State::Paused);
        fixture.publish("q", round).await;
        consumer.resume();
        assert_eq!(consumer.settled().await, State::Running);
        assert_eq!(gate.seen.take(1).await, [round.to_string()]);
    }
}

/// Stopping and starting are idempotent, and the latest wish counts.
pub async fn a_stopped_consumer_starts_again<H: Harness>(fixture: Fixture<H>) {
    let mut gate = Gate::new();
    gate.let_through(100);
    let consumer = fixture.spawn(gate.consumer(&fixture)).await;
    for round in 0..3 {
        consumer.stop();
        consumer.stop();
        stopped(&consumer).await;
        fixture.publish("q", round).await;
        consumer.start();
        consumer.start();
        assert_eq!(consumer.settled().await, State::Running);
        assert_eq!(gate.seen.take(1).await, [round.to_string()]);
    }
}

/// What is begun is finished; what was only delivered goes back, uncounted.
pub async fn stopping_finishes_what_is_begun_and_releases_the_rest<H: Harness>(
    fixture: Fixture<H>,
) {
    let mut gate = Gate::new();
    let consumer = fixture.spawn(gate.consumer(&fixture).concurrency(2)).await;
    fixture.publish_numbers("q", 6).await;
    gate.seen.take(2).await;
    consumer.stop();
    gate.let_through(2);
    stopped(&consumer).await;
    assert_eq!(consumer.tally().acked, 2);
    assert!(gate.seen.is_empty(), "nothing was begun after the word to stop");
    gate.let_through(4);
    consumer.start();
    for _ in 0..4 {
        assert_eq!(gate.seen.next().await.1, 1, "being released is no attempt");
    }
}

/// What was delivered is finished too.
pub async fn draining_finishes_all_that_has_arrived<H: Harness>(fixture: Fixture<H>) {
    let mut gate = Gate::new();
    let consumer = fixture.spawn(gate.consumer(&fixture).concurrency(1)).await;
    fixture.publish_numbers("q", 2).await;
    gate.seen.take(1).await;
    until_buffered(&consumer).await;
    consumer.drain();
    gate.let_through(2);
    stopped(&consumer).await;
    assert_eq!((consumer.tally().acked, consumer.tally().released), (2, 0));
}

/// Our own cancelling is not the message's fault, even if it is its last attempt.
pub async fn a_handler_cancelled_by_stopping_is_released_not_retried<H: Harness>(
    fixture: Fixture<H>,
) {
    let mut gate = Gate::new();
    let last_attempt = super::fixture::quick_retries().attempts(1);
    let consumer =
        gate.consumer(&fixture).retry(last_attempt).drain_budget(Duration::from_millis(50));
    let consumer = fixture.spawn(consumer).await;
    fixture.publish("q", "one").await;
    assert_eq!(gate.seen.take(1).await, ["one"]);
    consumer.stop();
    stopped(&consumer).await;
    let tally = consumer.tally();
    assert_eq!((tally.released, tally.dead_lettered, tally.retried), (1, 0, 0));
    gate.let_through(1);
    consumer.start();
    assert_eq!(gate.seen.next().await, ("one".to_owned(), 1));
}

/// The grace is bounded.
pub async fn a_handler_that_ignores_its_end_is_dropped_and_its_message_comes_again<H: Harness>(
    fixture: Fixture<H>,
) {
    let mut seen = Seen::default();
    let record = seen.recorder();
    let hang = move |_ctx: Context, message: Incoming<Message>| {
        record(&message);
        pending::<()>()
    };
    let short = Duration::from_millis(50);
    let consumer =
        Consumer::new(fixture.subscription("q"), hang).drain_budget(short).cancel_grace(short);
    let consumer = fixture.spawn(consumer).await;
    fixture.publish("q", "one").await;
    assert_eq!(seen.next().await, ("one".to_owned(), 1));
    consumer.stop();
    stopped(&consumer).await;
    consumer.start();
    assert_eq!(seen.next().await, ("one".to_owned(), 1));
}

/// The verbs only wish, so that nobody waits for himself.
pub async fn a_consumer_can_be_stopped_by_its_own_handler<H: Harness>(fixture: Fixture<H>) {
    let itself: Arc<OnceCell<ConsumerHandle>> = Arc::default();
    let handle = Arc::clone(&itself);
    let stop_it = move |_ctx: Context, _message: Incoming<Message>| {
        let handle = Arc::clone(&handle);
        async move {
            if let Some(handle) = handle.get() {
                handle.stop();
            }
        }
    };
    let consumer = fixture.spawn(Consumer::new(fixture.subscription("q"), stop_it)).await;
    itself.set(consumer.clone()).unwrap();
    let mut status = consumer.watch();
    fixture.publish("q", "one").await;
    status.wait_for(|status| status.state == State::Stopped).await.unwrap();
    assert_eq!(consumer.tally().acked, 1);
}

/// As many at a time as were asked for, and not one more.
pub async fn concurrency_is_reached_and_never_exceeded<H: Harness>(fixture: Fixture<H>) {
    const CONCURRENCY: usize = 4;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let barrier = Arc::new(tokio::sync::Barrier::new(CONCURRENCY));
    let mut seen = Seen::default();
    let (record, counted) = (seen.recorder(), Arc::clone(&most));
    let meet = move |_ctx: Context, message: Incoming<Message>| {
        record(&message);
        let (running, most) = (Arc::clone(&running), Arc::clone(&counted));
        let barrier = Arc::clone(&barrier);
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            barrier.wait().await;
            running.fetch_sub(1, Ordering::SeqCst);
        }
    };
    let consumer = Consumer::new(fixture.subscription("q"), meet).concurrency(4);
    fixture.spawn(consumer).await;
    fixture.publish_numbers("q", 40).await;
    seen.take(40).await;
    assert_eq!(most.load(Ordering::SeqCst), CONCURRENCY);
}
