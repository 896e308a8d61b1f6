//! What handles tell a consumer, and what it tells them.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::{
    Broker, BrokerError, BrokerErrorKind, Consumer, ConsumerHandle, Event, Failure, Incoming, Link,
    MemoryBroker, Message, Settled, Sink, Source, State, Subscription, Token, Verdict, Wanted,
};
use downhaul_context::{CauseKind, Context, Instant};
use futures_util::FutureExt;
use tokio::sync::mpsc;

use crate::support::{SECOND, publish, publish_numbers, spawn, subscription, until};

/// A consumer whose handlers wait for their context's end and tell why it came.
fn waiting() -> (Consumer, mpsc::UnboundedReceiver<CauseKind>) {
    let (sender, ends) = mpsc::unbounded_channel();
    let wait = move |ctx: Context, _: Incoming<Message>| {
        let sender = sender.clone();
        async move {
            let cause = ctx.done().await;
            let _ = sender.send(cause.kind());
            Err::<(), _>(Failure::from(cause))
        }
    };
    (Consumer::new(subscription(), wait), ends)
}

async fn until_handling(handle: &ConsumerHandle, count: usize) {
    until(|| handle.in_flight().len() == count).await;
}

#[tokio::test(start_paused = true)]
async fn aborting_ends_handlers_at_once_and_gives_their_messages_back() {
    let (ctx, _canceller) = Context::root();
    let (broker, (consumer, mut ends)) = (MemoryBroker::new(), waiting());
    let handle = spawn(consumer, &ctx, &broker).await;
    publish(&broker, Message::new("")).await;
    until_handling(&handle, 1).await;
    let asked = Instant::now();
    handle.abort();
    assert_eq!(handle.settled().await, State::Stopped);
    assert_eq!((asked.elapsed(), broker.depth("q").ready), (Duration::ZERO, 1));
    assert_eq!(ends.recv().await, Some(CauseKind::Operator));
    let status = handle.status();
    assert_eq!((status.wanted, status.state), (Wanted::Abort, State::Stopped));
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_takes_too_long_can_still_be_cut_short() {
    let (ctx, _canceller) = Context::root();
    let (broker, (consumer, mut ends)) = (MemoryBroker::new(), waiting());
    let handle = spawn(consumer.drain_budget(3600 * SECOND), &ctx, &broker).await;
    publish(&broker, Message::new("")).await;
    until_handling(&handle, 1).await;
    handle.stop();
    handle.wait_for(|status| status.state == State::Draining).await.unwrap();
    handle.abort();
    assert_eq!(handle.settled().await, State::Stopped);
    assert_eq!(ends.recv().await, Some(CauseKind::Operator));
}

#[tokio::test(start_paused = true)]
async fn restarting_opens_another_source_and_loses_nothing() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let handle = |_: Context, _: Incoming<Message>| async {};
    let handle = spawn(Consumer::new(subscription(), handle), &ctx, &broker).await;
    for round in 1..=100 {
        handle.restart();
        publish(&broker, Message::new("")).await;
        assert_eq!(handle.settled().await, State::Running);
        assert!(handle.last_stop().is_some(), "it was stopped");
        until(|| handle.tally().acked == round).await;
    }
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(tasks, 1, "the consumer's own");
}

#[tokio::test(start_paused = true)]
async fn the_report_of_a_stop_has_a_line_a_stage() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let hang = |_: Context, _: Incoming<Message>| std::future::pending::<()>();
    let consumer = Consumer::new(subscription(), hang);
    let consumer = consumer.drain_budget(4 * SECOND).cancel_grace(2 * SECOND);
    let handle = spawn(consumer, &ctx, &broker).await;
    assert!(handle.last_stop().is_none());
    handle.stop();
    handle.settled().await;
    let quiet = handle.last_stop().unwrap();
    assert!(quiet.is_clean());
    assert_eq!(quiet.stages.iter().map(|stage| stage.name).collect::<Vec<_>>(), ["drain", "close"]);

    handle.start();
    handle.settled().await;
    publish(&broker, Message::new("").with_id("stuck")).await;
    until_handling(&handle, 1).await;
    handle.stop();
    handle.settled().await;
    let report = handle.last_stop().unwrap();
    assert!(!report.is_clean());
    let text = report.to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "drain  4.000 s of 4.000 s");
    assert!(lines[1].starts_with("cancel 2.00"), "{text}");
    assert!(lines[2].starts_with("close  0.000 s of 2.000 s"), "{text}");
    assert_eq!(report.tally.released, 1);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_does_not_even_end_when_it_is_dropped_late_is_named_in_the_report() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let hang = |_: Context, _: Incoming<Message>| std::future::pending::<()>();
    let consumer = Consumer::new(subscription(), hang).drain_budget(SECOND);
    // Longer than what an engine waits for: the grace and the time to settle.
    let handle = spawn(consumer.cancel_grace(SECOND), &ctx, &broker).await;
    publish(&broker, Message::new("").with_id("stuck")).await;
    until_handling(&handle, 1).await;
    let snapshot = handle.snapshot();
    assert_eq!(snapshot.in_flight[0].message_id, "stuck");
    assert_eq!(snapshot.in_flight[0].attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_can_be_paused_while_it_starts_and_while_its_link_is_lost() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    broker.set_reachable(false);
    let handle = |_: Context, _: Incoming<Message>| async {};
    let consumer = Consumer::new(subscription(), handle);
    let handle = consumer.spawn(&ctx, Arc::new(broker.clone()));
    handle.pause();
    handle.wait_for(|status| status.wanted == Wanted::Pause).await.unwrap();
    broker.set_reachable(true);
    assert_eq!(handle.settled().await, State::Paused);
    publish_numbers(&broker, 3).await;
    broker.set_reachable(false);
    let lost = |link: &Link| matches!(link, Link::Recovering { .. });
    handle.wait_for(|status| lost(&status.link)).await.unwrap();
    assert_eq!(handle.status().state, State::Paused);
    handle.resume();
    broker.set_reachable(true);
    handle.wait_for(|status| matches!(status.link, Link::Up)).await.unwrap();
    until(|| handle.tally().acked == 3).await;
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_state_of_a_consumer_that_ends_is_told() {
    let (ctx, canceller) = Context::root();
    let handle = |_: Context, _: Incoming<Message>| async {};
    let handle = spawn(Consumer::new(subscription(), handle), &ctx, &MemoryBroker::new()).await;
    canceller.cancel();
    assert!(handle.wait_for(|status| status.state == State::Paused).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn after_the_word_to_stop_nothing_begins_though_all_is_ready_at_once() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let itself: Arc<OnceLock<ConsumerHandle>> = Arc::default();
    let handle = Arc::clone(&itself);
    let stop_it = move |_: Context, _: Incoming<Message>| {
        handle.get().unwrap().stop();
        async {}
    };
    broker.set_reachable(false);
    let consumer = Consumer::new(subscription(), stop_it);
    let handle = consumer.spawn(&ctx, Arc::new(broker.clone()));
    itself.set(handle.clone()).unwrap();
    let paused = {
        handle.pause();
        broker.set_reachable(true);
        handle.settled().await
    };
    assert_eq!(paused, State::Paused);
    publish_numbers(&broker, 5).await;
    handle.resume();
    handle.wait_for(|status| status.state == State::Stopped).await.unwrap();
    assert_eq!((handle.tally().acked, broker.depth("q").ready), (1, 4));
}

#[tokio::test(start_paused = true)]
async fn restarting_finishes_what_is_begun_and_gives_back_the_rest() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let open = Arc::clone(&gate);
    let wait = move |_: Context, _: Incoming<Message>| {
        let open = Arc::clone(&open);
        async move { open.acquire().await.unwrap().forget() }
    };
    let handle = spawn(Consumer::new(subscription(), wait).concurrency(1), &ctx, &broker).await;
    publish_numbers(&broker, 2).await;
    until(|| handle.buffered() == 1).await;
    let asked = Instant::now();
    handle.restart();
    handle.wait_for(|status| status.state == State::Draining).await.unwrap();
    gate.add_permits(1);
    assert_eq!(handle.settled().await, State::Running);
    let stop = handle.last_stop().unwrap();
    assert_eq!((stop.tally.acked, stop.tally.released), (1, 1));
    assert_eq!(asked.elapsed(), Duration::ZERO);
    gate.add_permits(1);
    until(|| handle.tally().acked == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_lost_is_seen_while_another_is_opened() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let handle = |_: Context, _: Incoming<Message>| async {};
    let consumer = Consumer::new(subscription(), handle);
    let handle = consumer.spawn(&ctx, Arc::new(Slow(broker.clone())));
    handle.settled().await;
    publish(&broker, Message::new("")).await;
    until(|| handle.tally().acked == 1).await;
    broker.cut();
    let lost = |link: &Link| matches!(link, Link::Recovering { attempt: 0, .. });
    let status = handle.wait_for(|status| lost(&status.link)).await.unwrap();
    let Link::Recovering { error, .. } = status.link else { unreachable!() };
    assert!(error.contains("was cut"), "{error}");
    handle.wait_for(|status| matches!(status.link, Link::Up)).await.unwrap();
}

/// A broker that takes a second to open anything.
#[derive(Debug)]
struct Slow(MemoryBroker);

#[async_trait]
impl Broker for Slow {
    fn system(&self) -> &'static str {
        "slow"
    }

    async fn source(
        &self,
        ctx: &Context,
        subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        tokio::time::sleep(SECOND).await; // tidy: on the paused clock
        self.0.source(ctx, subscription).await
    }

    async fn sink(&self, ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        self.0.sink(ctx).await
    }

    async fn close(&self, ctx: &Context) {
        self.0.close(ctx).await;
    }
}

#[tokio::test(start_paused = true)]
async fn draining_does_not_wait_for_the_next_attempt_of_what_has_failed() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let fail = |_: Context, _: Incoming<Message>| async {
        Err::<(), _>(Failure::retry_after(SECOND, "not yet"))
    };
    let handle = spawn(Consumer::new(subscription(), fail), &ctx, &broker).await;
    publish(&broker, Message::new("")).await;
    until(|| handle.snapshot().waiting == 1).await;
    let asked = Instant::now();
    handle.drain();
    handle.settled().await;
    assert_eq!((asked.elapsed(), broker.depth("q").delayed), (Duration::ZERO, 1));
}

#[tokio::test(start_paused = true)]
async fn sources_that_die_at_once_are_not_opened_without_a_pause() {
    let (ctx, _canceller) = Context::root();
    let broker = Arc::new(StillBorn::default());
    let handle = |_: Context, _: Incoming<Message>| async {};
    let handle = Consumer::new(subscription(), handle).spawn(&ctx, broker.clone());
    let opened = || broker.0.load(std::sync::atomic::Ordering::SeqCst);
    tokio::time::timeout(60 * SECOND, std::future::pending::<()>()).await.unwrap_err();
    // From 50 ms to 5 s, of which at least half is taken.
    assert!((10..40).contains(&opened()), "{} in a minute", opened());
    let seen = |link: &Link| matches!(link, Link::Recovering { attempt: 3.., .. });
    handle.wait_for(|status| seen(&status.link)).await.unwrap();
    handle.stop();
    assert_eq!(handle.settled().await, State::Stopped);
}

/// A broker whose sources can be opened and are dead.
#[derive(Debug, Default)]
struct StillBorn(std::sync::atomic::AtomicU32);

struct Dead;

#[async_trait]
impl Broker for StillBorn {
    fn system(&self) -> &'static str {
        "still-born"
    }

    async fn source(
        &self,
        _ctx: &Context,
        _subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        tokio::task::yield_now().await;
        Ok(Box::new(Dead))
    }

    async fn sink(&self, _ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        Err(dead())
    }

    async fn close(&self, _ctx: &Context) {}
}

fn dead() -> BrokerError {
    BrokerError::new(BrokerErrorKind::Unreachable, "the channel was closed")
}

#[async_trait]
impl Source for Dead {
    async fn next(&mut self, _events: &mut Vec<Event>) -> Result<(), BrokerError> {
        Err(dead())
    }

    async fn settle(&mut self, _batch: &[(Token, Verdict)]) -> Result<Settled, BrokerError> {
        Err(dead())
    }

    async fn set_prefetch(&mut self, _prefetch: u16) -> Result<(), BrokerError> {
        Err(dead())
    }

    async fn close(self: Box<Self>, _ctx: &Context) -> Result<(), BrokerError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_wish_that_another_has_overtaken_waits_for_that_one() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let handle = |_: Context, _: Incoming<Message>| async {};
    let handle = spawn(Consumer::new(subscription(), handle), &ctx, &broker).await;
    handle.pause();
    handle.settled().await;
    handle.resume();
    let waiting = handle.settled();
    tokio::pin!(waiting);
    assert!(waiting.as_mut().now_or_never().is_none());
    handle.pause();
    let state = tokio::time::timeout(60 * SECOND, waiting).await.expect("it is paused");
    assert_eq!(state, State::Paused);
}
