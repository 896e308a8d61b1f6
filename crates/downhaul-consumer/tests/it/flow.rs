//! How much at a time, also when that changes.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::inbox::MemoryInbox;
use downhaul_consumer::{
    Broker, BrokerError, Consumer, ConsumerHandle, Event, Incoming, MemoryBroker, Message, Outcome,
    Outgoing, Rate, Settled, Settlement, Sink, Source, State, Subscription, Token, Verdict,
};
use downhaul_context::{Context, Instant};
use tokio::sync::{Semaphore, mpsc};

use crate::support::{SECOND, publish, publish_numbers, spawn, subscription, until};

/// A consumer whose handlers wait for a permit.
fn gated() -> (Consumer, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&gate);
    let handle = move |_: Context, _: Incoming<Message>| {
        let wait = Arc::clone(&wait);
        async move { wait.acquire().await.unwrap().forget() }
    };
    (Consumer::new(subscription(), handle), gate)
}

fn handling(handle: &ConsumerHandle) -> usize {
    handle.snapshot().in_flight.len()
}

/// A handler that blocks in there is what a report of a stop has to name. Whether messages are
/// begun in place or, with an inbox, on tasks of their own.
#[tokio::test(start_paused = true)]
async fn a_message_is_listed_from_the_first_step_of_its_handler_on() {
    for apart in [false, true] {
        let (ctx, _canceller) = Context::root();
        let broker = MemoryBroker::new();
        let (own, (sender, mut listed)) =
            (Arc::new(OnceLock::<ConsumerHandle>::new()), mpsc::unbounded_channel());
        let known = Arc::clone(&own);
        let look = move |_: Context, message: Incoming<Message>| {
            let all = known.get().unwrap().in_flight();
            let ids = all.iter().map(|one| (one.message_id.clone(), one.request_id.clone()));
            let expected = vec![(message.id().to_owned(), message.request_id())];
            let _ = sender.send((ids.collect::<Vec<_>>(), expected));
            async {}
        };
        let mut consumer = Consumer::new(subscription(), look);
        if apart {
            consumer = consumer.dedupe(Arc::new(MemoryInbox::new()));
        }
        let handle = spawn(consumer, &ctx, &broker).await;
        own.set(handle.clone()).unwrap();
        publish(&broker, Message::new("").with_id("one")).await;
        let (ids, expected) = listed.recv().await.unwrap();
        assert_eq!(ids, expected, "apart: {apart}");
        handle.idle_for(SECOND).await;
        assert!(handle.in_flight().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn messages_begin_no_faster_than_the_rate() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (sender, mut starts) = mpsc::unbounded_channel();
    let tell = move |_: Context, _: Incoming<Message>| {
        let _ = sender.send(Instant::now());
        async {}
    };
    let consumer = Consumer::new(subscription(), tell).rate(Rate::new(5, SECOND));
    let handle = spawn(consumer, &ctx, &broker).await;
    publish_numbers(&broker, 20).await;
    let begun = Instant::now();
    let mut times = Vec::new();
    while times.len() < 20 {
        times.push((starts.recv().await.unwrap() - begun).as_millis());
    }
    // Five at once, then one each 200 ms, rounded up to the timer's milliseconds.
    for (index, at) in times.iter().enumerate() {
        let due = index.saturating_sub(4) as u128 * 200;
        assert!((due..due + 20).contains(at), "{index}: {at} ms, due at {due}");
    }
    handle.set(|settings| settings.rate = None);
    publish_numbers(&broker, 100).await;
    let lifted = Instant::now();
    for _ in 0..100 {
        starts.recv().await.unwrap();
    }
    assert_eq!(lifted.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_is_held_back_by_its_rate_stops_within_its_budget() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let handle = |_: Context, _: Incoming<Message>| async {};
    let consumer = Consumer::new(subscription(), handle).rate(Rate::new(1, 3600 * SECOND));
    let handle = spawn(consumer.drain_budget(10 * SECOND), &ctx, &broker).await;
    publish_numbers(&broker, 5).await;
    until(|| handle.tally().acked == 1 && handle.buffered() == 4).await;
    let asked = Instant::now();
    handle.drain();
    assert_eq!(handle.settled().await, State::Stopped);
    assert_eq!((asked.elapsed(), broker.depth("q").ready), (10 * SECOND, 4));
}

#[tokio::test(start_paused = true)]
async fn concurrency_and_prefetch_change_while_messages_flow() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (consumer, gate) = gated();
    let handle = spawn(consumer.concurrency(2), &ctx, &broker).await;
    publish_numbers(&broker, 40).await;
    until(|| handling(&handle) == 2 && broker.depth("q").unsettled == 4).await;
    handle.set(|settings| settings.concurrency = 6);
    until(|| handling(&handle) == 6 && broker.depth("q").unsettled == 12).await;
    handle.set(|settings| settings.prefetch = Some(20));
    until(|| broker.depth("q").unsettled == 20).await;
    handle.set(|settings| (settings.concurrency, settings.prefetch) = (1, None));
    handle.settled().await;
    gate.add_permits(6);
    until(|| handle.tally().acked == 6).await;
    until(|| handling(&handle) == 1).await;
    gate.add_permits(100);
    until(|| handle.tally().acked == 40).await;
}

#[tokio::test(start_paused = true)]
async fn a_buffer_that_holds_enough_bytes_takes_no_more() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (consumer, gate) = gated();
    let consumer = consumer.concurrency(1).prefetch(1000).buffered_bytes(1000);
    let handle = spawn(consumer, &ctx, &broker).await;
    for _ in 0..50 {
        publish(&broker, Message::new(vec![0; 60]).with_header("name", "x".repeat(36))).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
    let snapshot = handle.snapshot();
    assert_eq!((snapshot.buffered, snapshot.buffered_bytes), (10, 1000));
    gate.add_permits(100);
    until(|| handle.tally().acked == 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_that_compute_overlap_where_there_are_two_threads() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let compute = move |_: Context, _: Incoming<Message>| {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Until another thread has come as well, or for a while.
            let begun = tokio::time::Instant::now();
            while most.load(Ordering::SeqCst) < 2 && begun.elapsed() < Duration::from_millis(5) {
                std::hint::spin_loop();
            }
            now.fetch_sub(1, Ordering::SeqCst);
        }
    };
    let handle = spawn(Consumer::new(subscription(), compute), &ctx, &broker).await;
    let overlapping = async {
        while seen.load(Ordering::SeqCst) < 2 {
            publish_numbers(&broker, 16).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(60 * SECOND, overlapping).await.expect("two are at work at a time");
    handle.drain();
    handle.settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn handlers_that_block_leave_the_threads_of_the_runtime_to_others() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    // Both must be in their handlers at once, on a runtime of one thread.
    let meeting = Arc::new(std::sync::Barrier::new(2));
    let block = move |_: Context, message: Incoming<Message>| {
        meeting.wait();
        assert_ne!(message.id(), "1", "planted");
    };
    let handle = spawn(Consumer::blocking(subscription(), block), &ctx, &broker).await;
    publish_numbers(&broker, 2).await;
    until(|| handle.tally().acked == 1 && handle.tally().dead_lettered == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_consumer_is_idle_when_nothing_was_there_for_a_while() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (consumer, gate) = gated();
    let handle = spawn(consumer, &ctx, &broker).await;
    let begun = Instant::now();
    handle.idle_for(10 * SECOND).await;
    assert_eq!(begun.elapsed(), 10 * SECOND);
    publish_numbers(&broker, 1).await;
    until(|| handling(&handle) == 1).await;
    let idle = tokio::time::timeout(60 * SECOND, handle.idle_for(10 * SECOND));
    assert!(idle.await.is_err(), "a handler is at work");
    gate.add_permits(1);
    let begun = Instant::now();
    handle.idle_for(10 * SECOND).await;
    assert!(begun.elapsed() <= 20 * SECOND);
    // Handlers that are ready at once are never seen at work, and count all the same.
    gate.add_permits(1_000);
    let busy = async {
        for _ in 0..20 {
            publish_numbers(&broker, 1).await;
            tokio::time::advance(9 * SECOND).await;
        }
        std::future::pending::<()>().await;
    };
    let begun = Instant::now();
    tokio::select! {
        () = busy => {}
        () = handle.idle_for(10 * SECOND) => {}
    }
    assert!(begun.elapsed() >= 180 * SECOND, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_never_empty_leaves_time_to_others() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let ready = |_: Context, _: Incoming<Message>| async {};
    let consumer = Consumer::new(subscription(), ready).prefetch(1_000);
    let handle = spawn(consumer, &ctx, &broker).await;
    handle.pause();
    handle.settled().await;
    publish_numbers(&broker, 5_000).await;
    handle.resume();
    let mut turns = 0;
    until(|| {
        turns += 1;
        handle.tally().acked == 5_000
    })
    .await;
    assert!(turns > 5_000 / 256, "{turns} turns for others");
}

#[tokio::test(start_paused = true)]
async fn a_verdict_that_the_source_calls_late_is_counted_as_lost() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let ready = |_: Context, _: Incoming<Message>| async {};
    let consumer = Consumer::new(subscription(), ready);
    let handle = consumer.spawn(&ctx, Arc::new(Late(broker.clone())));
    handle.settled().await;
    publish_numbers(&broker, 3).await;
    until(|| handle.tally().lost + handle.tally().acked == 3).await;
    assert_eq!((handle.tally().lost, handle.tally().acked), (1, 2));
}

/// A broker whose sources call the verdict on their first delivery late.
#[derive(Debug)]
struct Late(MemoryBroker);

struct LateSource(Box<dyn Source>);

#[async_trait]
impl Broker for Late {
    fn system(&self) -> &'static str {
        "late"
    }

    async fn source(
        &self,
        ctx: &Context,
        subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        Ok(Box::new(LateSource(self.0.source(ctx, subscription).await?)))
    }

    async fn sink(&self, ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        self.0.sink(ctx).await
    }

    async fn close(&self, ctx: &Context) {
        self.0.close(ctx).await;
    }
}

#[async_trait]
impl Source for LateSource {
    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), BrokerError> {
        self.0.next(events).await
    }

    async fn settle(&mut self, batch: &[(Token, Verdict)]) -> Result<Settled, BrokerError> {
        self.0.settle(batch).await?;
        let late = batch.iter().map(|(token, _)| *token).filter(|token| token.number() == 0);
        Ok(Settled::confirmed().with_lost(late.collect()))
    }

    async fn set_prefetch(&mut self, prefetch: u16) -> Result<(), BrokerError> {
        self.0.set_prefetch(prefetch).await
    }

    async fn close(self: Box<Self>, ctx: &Context) -> Result<(), BrokerError> {
        self.0.close(ctx).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_buffer_is_given_back_in_order_and_in_parts_between_which_others_work() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let never = |_: Context, _: Incoming<Message>| pending::<()>();
    let consumer = Consumer::new(subscription(), never).concurrency(1).prefetch(10_000);
    let handle = spawn(consumer, &ctx, &broker).await;
    // One is handled, and one has no place in the buffer.
    publish_numbers(&broker, 10_001).await;
    until(|| handle.buffered() == 9_999).await;
    handle.pause();
    let mut seen = BTreeSet::new();
    until(|| {
        let ready = broker.depth("q").ready;
        seen.insert(ready);
        ready == 10_000
    })
    .await;
    assert!(seen.len() > 2, "{seen:?}");
    let ids = broker.ready("q");
    assert!(ids.iter().map(|message| message.id().parse::<u32>().unwrap()).eq(1..10_001));
}

#[cfg(feature = "testing")]
#[tokio::test(start_paused = true)]
async fn a_consumer_is_not_idle_while_what_a_handler_emits_is_on_its_way() {
    let (ctx, _canceller) = Context::root();
    let memory = MemoryBroker::new();
    let broker = downhaul_consumer::testing::FaultyBroker::over(Arc::new(memory.clone()));
    broker.faults().slow_sends(4 * SECOND);
    let emit = |_: Context, _: Incoming<Message>| async {
        Outcome::new(Settlement::Ack).emit(Outgoing::to_queue("q.dead", Message::new("")))
    };
    let handle = Consumer::new(subscription(), emit).spawn(&ctx, Arc::new(broker));
    handle.settled().await;
    publish_numbers(&memory, 1).await;
    until(|| memory.depth("q").unsettled == 1 && handle.buffered() == 0).await;
    handle.idle_for(SECOND).await;
    assert_eq!(handle.tally().acked, 1);
}
