//! What a consumer says of itself: its state, its link, and how it stopped.

use std::collections::VecDeque;
use std::future::{pending, ready};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::{
    Broker, BrokerError, BrokerErrorKind, Consumer, Event, HeldLane, Incoming, Lane, Link,
    MemoryBroker, Message, Name, Settled, Sink, Source, State, Subscription, Token, Verdict,
    Wanted,
};
use downhaul_context::{Context, Instant};
use tokio::time::{sleep, timeout};

use crate::support::{SECOND, publish, spawn, subscription, until};
use crate::told::Told;

fn at_once() -> Consumer {
    Consumer::new(subscription(), |_: Context, _: Incoming<Message>| ready(()))
}

/// A broker whose openings fail as told before one succeeds. Its sources take their time to close.
#[derive(Clone, Debug, Default)]
struct Trouble {
    memory: MemoryBroker,
    openings: Arc<Mutex<VecDeque<BrokerErrorKind>>>,
    /// When each opening was asked for, and with which prefetch.
    asked: Arc<Mutex<Vec<(Instant, u16)>>>,
    closing_takes: Duration,
    closed: Arc<AtomicU32>,
}

impl Trouble {
    fn of(openings: impl IntoIterator<Item = BrokerErrorKind>) -> Self {
        let openings = Arc::new(Mutex::new(openings.into_iter().collect()));
        Self { openings, ..Self::default() }
    }

    fn slow_to_close(closing_takes: Duration) -> Self {
        Self { closing_takes, ..Self::default() }
    }
}

#[async_trait]
impl Broker for Trouble {
    fn system(&self) -> &'static str {
        "trouble"
    }

    async fn source(
        &self,
        ctx: &Context,
        subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        self.asked.lock().unwrap().push((Instant::now(), subscription.prefetch()));
        let opening = format!("opening {}", self.asked.lock().unwrap().len());
        let fails = self.openings.lock().unwrap().pop_front();
        if let Some(kind) = fails {
            return Err(BrokerError::new(kind, opening).with_source("access denied"));
        }
        let inner = self.memory.source(ctx, subscription).await?;
        Ok(Box::new(SlowToClose { inner, broker: self.clone() }))
    }

    async fn sink(&self, ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        self.memory.sink(ctx).await
    }

    async fn close(&self, _ctx: &Context) {}
}

struct SlowToClose {
    inner: Box<dyn Source>,
    broker: Trouble,
}

#[async_trait]
impl Source for SlowToClose {
    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), BrokerError> {
        self.inner.next(events).await
    }

    async fn settle(&mut self, batch: &[(Token, Verdict)]) -> Result<Settled, BrokerError> {
        self.inner.settle(batch).await
    }

    async fn set_prefetch(&mut self, prefetch: u16) -> Result<(), BrokerError> {
        self.inner.set_prefetch(prefetch).await
    }

    async fn close(self: Box<Self>, ctx: &Context) -> Result<(), BrokerError> {
        sleep(self.broker.closing_takes).await; // tidy: on the paused clock
        self.broker.closed.fetch_add(1, Ordering::SeqCst);
        self.inner.close(ctx).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_with_all_behind_it_until_the_consumer_is_started_again() {
    let (ctx, _canceller) = Context::root();
    let broker = Trouble::of([BrokerErrorKind::Unreachable, BrokerErrorKind::Configuration]);
    let handle = at_once().spawn(&ctx, Arc::new(broker));
    handle.pause();
    assert_eq!(handle.settled().await, State::Failed);
    let status = handle.status();
    assert_eq!(status.failure.as_deref(), Some("opening 2: access denied"));
    assert_eq!(status.wanted, Wanted::Pause);
    assert!(matches!(status.link, Link::Closed), "{:?}", status.link);
    handle.start();
    assert_eq!(handle.settled().await, State::Running);
    assert_eq!(handle.status().failure, None);
}

#[tokio::test(start_paused = true)]
async fn a_link_that_cannot_be_opened_says_since_when_and_why_last_and_is_tried_after_pauses() {
    let (ctx, _canceller) = Context::root();
    let broker = Trouble::of([BrokerErrorKind::Unreachable; 4]);
    let handle = at_once().concurrency(3).spawn(&ctx, Arc::new(broker.clone()));
    let mut begun = None;
    for number in 1..=4 {
        let is_it =
            |link: &Link| matches!(link, Link::Recovering { attempt, .. } if *attempt == number);
        let status = handle.wait_for(|status| is_it(&status.link)).await.unwrap();
        let Link::Recovering { since, error, .. } = status.link else { unreachable!() };
        assert_eq!(*begun.get_or_insert(since), since, "of the first failure");
        assert_eq!(&*error, format!("opening {number}: access denied"));
    }
    assert_eq!(handle.settled().await, State::Running);
    let asked = broker.asked.lock().unwrap().clone();
    for (pair, full) in asked.windows(2).zip([50, 100, 200, 400]) {
        let pause = (pair[1].0 - pair[0].0).as_millis();
        assert!((full / 2..=full + 1).contains(&pause), "{pause} of {full} ms");
    }
    assert!(asked.iter().all(|(_, prefetch)| *prefetch == 6), "{asked:?}");
}

/// Waits until so many messages are handled, without the clock.
async fn handled(handle: &downhaul_consumer::ConsumerHandle, broker: &MemoryBroker, count: u64) {
    publish(broker, Message::new("")).await;
    until(|| handle.tally().acked == count).await;
}

#[tokio::test(start_paused = true)]
async fn a_link_that_was_of_use_is_opened_again_at_once_and_others_after_a_pause() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let handle = spawn(at_once(), &ctx, &broker).await;
    sleep(SECOND).await; // tidy: on the paused clock
    let quiet = Instant::now();
    broker.cut();
    handled(&handle, &broker, 1).await;
    assert_eq!(quiet.elapsed(), Duration::ZERO, "it was there for a second");
    for useless in 1..=3 {
        // The first one is lost that was of use, and then those that were not.
        broker.cut();
        if useless == 1 {
            until(|| matches!(handle.status().link, Link::Up)).await;
            tokio::task::yield_now().await;
            broker.cut();
        }
        let is_it =
            |link: &Link| matches!(link, Link::Recovering { attempt, .. } if *attempt == useless);
        let seen = handle.wait_for(|status| is_it(&status.link));
        timeout(SECOND, seen).await.expect("a pause").unwrap();
        let up = handle.wait_for(|status| matches!(status.link, Link::Up));
        timeout(SECOND, up).await.expect("a link").unwrap();
    }
    handled(&handle, &broker, 2).await;
    let of_use = Instant::now();
    broker.cut();
    handled(&handle, &broker, 3).await;
    assert_eq!(of_use.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn no_link_is_wanted_any_more_by_a_consumer_that_drains_without_one() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let hang = |_: Context, _: Incoming<Message>| pending::<()>();
    let handle = spawn(Consumer::new(subscription(), hang), &ctx, &broker).await;
    publish(&broker, Message::new("")).await;
    until(|| handle.in_flight().len() == 1).await;
    broker.set_reachable(false);
    let lost = |link: &Link| matches!(link, Link::Recovering { .. });
    handle.wait_for(|status| lost(&status.link)).await.unwrap();
    handle.stop();
    let draining = handle.wait_for(|status| status.state == State::Draining).await.unwrap();
    assert!(matches!(draining.link, Link::Closed), "{:?}", draining.link);
}

#[tokio::test(start_paused = true)]
async fn a_source_is_closed_within_two_seconds_also_where_the_context_has_ended() {
    for (takes, closed) in [(SECOND, 1), (3600 * SECOND, 0)] {
        let (ctx, canceller) = Context::root();
        let broker = Trouble::slow_to_close(takes);
        let handle = at_once().spawn(&ctx, Arc::new(broker.clone()));
        handle.settled().await;
        let asked = Instant::now();
        canceller.cancel();
        let closing = handle.wait_for(|status| status.state == State::Closing);
        assert!(closing.await.is_some(), "it says so");
        handle.ended().await;
        assert_eq!(asked.elapsed().as_secs(), takes.min(2 * SECOND).as_secs());
        assert_eq!(broker.closed.load(Ordering::SeqCst), closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_has_the_time_that_is_told_of_and_counts_what_became_of_messages_meanwhile() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let hang = |_: Context, message: Incoming<Message>| async move {
        if message.id() == "stuck" {
            pending::<()>().await;
        }
    };
    let handle = spawn(Consumer::new(subscription(), hang), &ctx, &broker).await;
    handled(&handle, &broker, 1).await;
    publish(&broker, Message::new("").with_id("stuck")).await;
    until(|| handle.in_flight().len() == 1).await;
    handle.stop();
    handle.settled().await;
    let report = handle.last_stop().unwrap();
    let allowed: Vec<_> = report.stages.iter().map(|stage| stage.allowed.as_secs()).collect();
    // To the grace of handlers comes the time to settle what they leave.
    assert_eq!((allowed, report.stages[1].took.as_secs()), (vec![20, 3 + 5, 2], 3));
    assert_eq!((report.tally.acked, report.tally.released), (0, 1));
}

#[test]
fn a_consumer_whose_runtime_has_ended_says_that_it_is_stopped() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let handle = runtime.block_on(async {
        let ctx = Context::background();
        spawn(at_once(), &ctx, &MemoryBroker::new()).await
    });
    drop(runtime);
    let status = handle.status();
    assert_eq!(status.state, State::Stopped);
    assert!(matches!(status.link, Link::Closed), "{:?}", status.link);
    let alone = tokio::runtime::Builder::new_current_thread().build().unwrap();
    handle.start();
    assert_eq!(alone.block_on(handle.settled()), State::Stopped);
}

#[tokio::test(start_paused = true)]
async fn what_lanes_a_consumer_has_and_how_far_it_is_behind_is_seen_while_its_source_is_there() {
    let ((ctx, _canceller), broker) = (Context::root(), Told::default());
    let (orders, lane) = (Name::of("orders"), Lane::new(7));
    broker.held.put(lane, HeldLane::new(orders.clone(), 1));
    broker.held.put(Lane::new(8), HeldLane::new(orders.clone(), 0).with_lag(Some(5)));
    let nothing = |_: Context, _: Incoming<Message>| ready(());
    let handle = Consumer::new(subscription(), nothing).spawn(&ctx, Arc::new(broker.clone()));
    handle.settled().await;
    let seen = handle.snapshot();
    let lanes = seen.lanes.iter().map(|lane| (lane.partition, lane.lag));
    assert_eq!(lanes.collect::<Vec<_>>(), [(0, Some(5)), (1, None)]);
    assert_eq!(seen.lag(), Some(5));
    broker.held.put(lane, HeldLane::new(orders, 1).with_lag(Some(10)));
    assert_eq!(handle.snapshot().lag(), Some(15));
    broker.is_shut.store(true, Ordering::SeqCst);
    broker.is_lost.store(true, Ordering::SeqCst);
    handle.pause();
    let is_up = |link: &Link| matches!(link, Link::Up);
    handle.wait_for(|status| !is_up(&status.link)).await.unwrap();
    assert_eq!((handle.snapshot().lanes, handle.snapshot().lag()), (vec![], None));
    broker.is_shut.store(false, Ordering::SeqCst);
    handle.wait_for(|status| is_up(&status.link)).await.unwrap();
    assert_eq!(handle.snapshot().lag(), Some(15));
    handle.stop();
    handle.settled().await;
    assert_eq!(handle.snapshot().lanes, []);
}
