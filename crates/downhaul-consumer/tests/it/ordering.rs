//! Messages of one key, one after the other.

use std::collections::HashMap;
use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::{
    Broker, BrokerError, Consumer, Event, Failure, Incoming, MemoryBroker, Message, RetryPolicy,
    Settled, Settlement, Sink, Source, Subscription, Token, Verdict,
};
use downhaul_context::{Context, Instant};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::sleep;

use crate::support::{SECOND, publish, spawn, subscription, until};

async fn publish_keyed(broker: &MemoryBroker, messages: &[(&'static str, &'static str)]) {
    for (id, key) in messages {
        publish(broker, Message::new("").with_id(*id).with_key(*key)).await;
    }
}

/// A consumer whose handlers take as long as their message's id says, and tell of their end.
fn timed(ended: mpsc::UnboundedSender<(String, Instant)>) -> Consumer {
    Consumer::new(subscription(), move |_: Context, message: Incoming<Message>| {
        let ended = ended.clone();
        async move {
            let seconds = message.id().trim_start_matches(char::is_alphabetic);
            sleep(SECOND * seconds.parse()?).await; // tidy: on the paused clock
            let _ = ended.send((message.id().to_owned(), Instant::now()));
            Ok::<(), Failure>(())
        }
    })
}

#[tokio::test(start_paused = true)]
async fn messages_of_a_key_wait_for_each_other_and_no_others_do() {
    let (ctx, _canceller) = Context::root();
    let (sender, mut ended) = mpsc::unbounded_channel();
    let broker = MemoryBroker::new();
    publish_queue(&broker).await;
    let messages = [("a5", "a"), ("a1", "a"), ("b1", "b"), ("b2", "b"), ("c1", "c")];
    publish_keyed(&broker, &messages).await;
    let begun = Instant::now();
    spawn(timed(sender).ordered().concurrency(16), &ctx, &broker).await;
    let mut ends = HashMap::new();
    while ends.len() < messages.len() {
        let (id, at) = ended.recv().await.unwrap();
        ends.insert(id, (at - begun).as_secs());
    }
    let expected = [("a5", 5), ("a1", 6), ("b1", 1), ("b2", 3), ("c1", 1)];
    assert_eq!(ends, expected.map(|(id, at)| (id.to_owned(), at)).into());
}

#[tokio::test(start_paused = true)]
async fn a_key_with_many_messages_holds_up_no_other_if_the_prefetch_has_room_for_them() {
    let (ctx, _canceller) = Context::root();
    let (sender, mut ended) = mpsc::unbounded_channel();
    let broker = MemoryBroker::new();
    publish_queue(&broker).await;
    publish_keyed(&broker, &[("a60", "a"); 200]).await;
    publish_keyed(&broker, &[("b1", "b")]).await;
    let handle = spawn(timed(sender).ordered().prefetch(256), &ctx, &broker).await;
    assert_eq!(ended.recv().await.unwrap().0, "b1");
    let snapshot = handle.snapshot();
    assert_eq!((snapshot.in_flight.len(), snapshot.buffered, snapshot.in_line), (1, 199, 199));
}

/// Makes the queue, so that what is published before a consumer runs is kept.
async fn publish_queue(broker: &MemoryBroker) {
    drop(broker.source(&Context::background(), &subscription()).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn without_order_nobody_waits() {
    let (ctx, _canceller) = Context::root();
    let (sender, mut ended) = mpsc::unbounded_channel();
    let broker = MemoryBroker::new();
    spawn(timed(sender).concurrency(16), &ctx, &broker).await;
    publish_keyed(&broker, &[("a5", "a"), ("a1", "a")]).await;
    assert_eq!(ended.recv().await.unwrap().0, "a1");
}

#[tokio::test(start_paused = true)]
async fn the_line_of_a_message_can_be_found_in_anything_that_it_bears() {
    let (ctx, _canceller) = Context::root();
    let (sender, mut ended) = mpsc::unbounded_channel();
    let broker = MemoryBroker::new();
    let tenant = |message: &Message| message.headers().get("tenant").map(str::to_owned);
    spawn(timed(sender).ordered_by(tenant).concurrency(16), &ctx, &broker).await;
    for (id, tenant) in [("a3", Some("acme")), ("b1", Some("acme")), ("c2", None)] {
        let message = Message::new("").with_id(id);
        let message = match tenant {
            Some(tenant) => message.with_header("tenant", tenant),
            None => message,
        };
        publish(&broker, message).await;
    }
    let mut order = Vec::new();
    while order.len() < 3 {
        order.push(ended.recv().await.unwrap().0);
    }
    assert_eq!(order, ["c2", "a3", "b1"]);
}

/// Fails the first attempt at `a1`, and notes which attempts it saw.
fn failing_once(seen: Arc<Mutex<Vec<(String, u32)>>>) -> Consumer {
    Consumer::new(subscription(), move |_: Context, message: Incoming<Message>| {
        let attempt = (message.id().to_owned(), message.attempt());
        let fails = attempt == ("a1".to_owned(), 1);
        seen.lock().unwrap().push(attempt);
        async move {
            match fails {
                true => Settlement::Retry { after: Some(60 * SECOND) },
                false => Settlement::Ack,
            }
        }
    })
}

fn seen_of(seen: &Mutex<Vec<(String, u32)>>) -> Vec<(String, u32)> {
    seen.lock().unwrap().clone()
}

fn attempts(of: &[(&str, u32)]) -> Vec<(String, u32)> {
    of.iter().map(|(id, attempt)| ((*id).to_owned(), *attempt)).collect()
}

const FAILING: [(&str, &str); 3] = [("a1", "a"), ("a2", "a"), ("b1", "b")];

#[tokio::test(start_paused = true)]
async fn a_message_that_fails_holds_up_its_key_until_it_is_done() {
    let (ctx, _canceller) = Context::root();
    let (seen, broker) = (Arc::default(), MemoryBroker::new());
    let consumer = failing_once(Arc::clone(&seen)).ordered();
    let handle = spawn(consumer, &ctx, &broker).await;
    publish_keyed(&broker, &FAILING).await;
    until(|| handle.tally().acked == 1).await;
    assert_eq!(seen_of(&seen), attempts(&[("a1", 1), ("b1", 1)]));
    assert_eq!(handle.snapshot().waiting, 1, "in hand, and without a place of work");
    tokio::time::advance(60 * SECOND).await;
    until(|| handle.tally().acked == 3).await;
    assert_eq!(seen_of(&seen), attempts(&[("a1", 1), ("b1", 1), ("a1", 2), ("a2", 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_fails_holds_up_its_line_by_whatever_that_was_found() {
    let (ctx, _canceller) = Context::root();
    let (seen, broker) = (Arc::default(), MemoryBroker::new());
    let tenant = |message: &Message| message.headers().get("tenant").map(str::to_owned);
    let consumer = at_first(IN_A_MINUTE, Arc::clone(&seen)).ordered_by(tenant);
    let handle = spawn(consumer, &ctx, &broker).await;
    for id in ["a1", "a2"] {
        publish(&broker, Message::new("").with_id(id).with_header("tenant", "acme")).await;
    }
    until_acked_by_time(&handle, 2).await;
    assert_eq!(*seen.lock().unwrap(), ["a1", "a1", "a2"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_stands_in_no_line_is_parked_whatever_key_it_bears() {
    let (ctx, _canceller) = Context::root();
    let (seen, broker) = (Arc::default(), MemoryBroker::new());
    let nobody = |_: &Message| None::<u32>;
    let consumer = at_first(IN_A_MINUTE, Arc::clone(&seen)).ordered_by(nobody);
    let handle = spawn(consumer, &ctx, &broker).await;
    publish_keyed(&broker, &[("a1", "a"), ("a2", "a")]).await;
    until(|| handle.tally().acked == 1).await;
    assert_eq!(broker.depth("q").delayed, 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_fails_can_be_parked_and_its_key_goes_on() {
    let (ctx, _canceller) = Context::root();
    let (seen, broker) = (Arc::default(), MemoryBroker::new());
    let consumer = failing_once(Arc::clone(&seen)).ordered().park_ordered();
    let handle = spawn(consumer, &ctx, &broker).await;
    publish_keyed(&broker, &FAILING).await;
    until(|| handle.tally().acked == 2).await;
    assert_eq!(broker.depth("q").delayed, 1);
    until_acked_by_time(&handle, 3).await;
    assert_eq!(seen_of(&seen).last(), attempts(&[("a1", 2)]).last());
}

async fn until_acked_by_time(handle: &downhaul_consumer::ConsumerHandle, count: u64) {
    while handle.tally().acked < count {
        tokio::time::advance(SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_waited_behind_a_key_is_given_back_in_its_order_when_a_consumer_pauses() {
    let (ctx, _canceller) = Context::root();
    let (seen, broker) = (Arc::default(), MemoryBroker::new());
    let handle = spawn(failing_once(Arc::clone(&seen)).ordered(), &ctx, &broker).await;
    publish_keyed(&broker, &FAILING).await;
    until(|| handle.snapshot().waiting == 1).await;
    handle.pause();
    handle.settled().await;
    let ids: Vec<_> = broker.ready("q").iter().map(|message| message.id().to_owned()).collect();
    assert_eq!(ids, ["a1", "a2"]);
}

/// Does this with the first call, and acknowledges in all others. Notes what it saw.
fn at_first(settlement: Settlement, seen: Arc<Mutex<Vec<String>>>) -> Consumer {
    Consumer::new(subscription(), move |_: Context, message: Incoming<Message>| {
        let mut seen = seen.lock().unwrap();
        seen.push(message.id().to_owned());
        ready(if seen.len() == 1 { settlement.clone() } else { Settlement::Ack })
    })
    .ordered()
}

const IN_A_MINUTE: Settlement = Settlement::Retry { after: Some(Duration::from_secs(60)) };

#[tokio::test(start_paused = true)]
async fn what_waits_behind_a_failed_message_goes_back_with_it_when_a_consumer_drains() {
    let (ctx, _canceller) = Context::root();
    let (seen, broker) = (Arc::default(), MemoryBroker::new());
    let handle = spawn(at_first(IN_A_MINUTE, Arc::clone(&seen)), &ctx, &broker).await;
    publish_keyed(&broker, &FAILING).await;
    until(|| handle.snapshot().waiting == 1 && handle.tally().acked == 1).await;
    handle.drain();
    handle.settled().await;
    assert_eq!(*seen.lock().unwrap(), ["a1", "b1"]);
    let ids: Vec<_> = broker.ready("q").iter().map(|message| message.id().to_owned()).collect();
    assert_eq!(ids, ["a1", "a2"]);
}

#[tokio::test(start_paused = true)]
async fn what_waits_behind_a_message_whose_handler_does_not_end_goes_back_with_it() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let hang = |_: Context, _: Incoming<Message>| std::future::pending::<()>();
    let handle = spawn(Consumer::new(subscription(), hang).ordered(), &ctx, &broker).await;
    publish_keyed(&broker, &[("a1", "a"), ("a2", "a")]).await;
    until(|| handle.buffered() == 1).await;
    handle.stop();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(broker.depth("q").unsettled, 2);
    handle.settled().await;
    assert_eq!((broker.depth("q").ready, handle.buffered()), (2, 0));
    assert_eq!(handle.tally().released, 2);
}

/// Given back with it, they would be overtaken by what is on its way.
#[tokio::test(start_paused = true)]
async fn those_behind_a_message_that_its_handler_releases_begin_in_their_order() {
    let (ctx, _canceller) = Context::root();
    let (seen, broker) = (Arc::default(), MemoryBroker::new());
    publish_queue(&broker).await;
    publish_keyed(&broker, &[("a1", "a"), ("a2", "a"), ("a3", "a")]).await;
    let consumer = at_first(Settlement::Release, Arc::clone(&seen));
    let handle = consumer.spawn(&ctx, Arc::new(OneUnderWay(broker.clone())));
    until(|| handle.tally().acked == 3).await;
    let mut begun = seen.lock().unwrap().clone();
    // Where the released one comes in again is the broker's business.
    begun.retain(|id| id != "a1");
    assert_eq!(begun, ["a2", "a3"]);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_another_attempt_goes_back_together_with_what_is_behind_it() {
    let (ctx, _canceller) = Context::root();
    let (seen, broker) = (Arc::default(), MemoryBroker::new());
    publish_queue(&broker).await;
    publish_keyed(&broker, &[("a1", "a"), ("a2", "a"), ("a3", "a")]).await;
    let consumer = at_first(IN_A_MINUTE, Arc::clone(&seen));
    let handle = consumer.spawn(&ctx, Arc::new(OneUnderWay(broker.clone())));
    until(|| handle.snapshot().waiting == 1).await;
    handle.pause();
    tokio::task::yield_now().await;
    // While the intake is being closed, which takes a second.
    handle.resume();
    handle.settled().await;
    until(|| handle.tally().acked == 3).await;
    assert_eq!(*seen.lock().unwrap(), ["a1", "a1", "a2", "a3"]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_be_found_stops_nobody() {
    let (ctx, _canceller) = Context::root();
    let (sender, mut ended) = mpsc::unbounded_channel();
    let broker = MemoryBroker::new();
    let panics = |message: &Message| -> Option<u32> { message.id().parse().map(Some).unwrap() };
    spawn(timed(sender).ordered_by(panics), &ctx, &broker).await;
    publish_keyed(&broker, &[("a1", "a"), ("1", "b")]).await;
    for _ in 0..2 {
        ended.recv().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn retries_of_one_key_do_not_delay_those_of_another() {
    let (ctx, _canceller) = Context::root();
    let (sender, mut times) = mpsc::unbounded_channel();
    let fail = move |_: Context, message: Incoming<Message>| {
        let _ = sender.send((message.id().to_owned(), message.attempt(), Instant::now()));
        let after = if message.id() == "a1" { 100 * SECOND } else { SECOND };
        async move { Settlement::Retry { after: Some(after) } }
    };
    let broker = MemoryBroker::new();
    let two = RetryPolicy::default().attempts(2);
    let begun = Instant::now();
    spawn(Consumer::new(subscription(), fail).retry(two).ordered(), &ctx, &broker).await;
    publish_keyed(&broker, &[("a1", "a"), ("b1", "b")]).await;
    let mut seconds = HashMap::new();
    for _ in 0..4 {
        let (id, attempt, at) = times.recv().await.unwrap();
        seconds.insert((id, attempt), (at - begun + Duration::from_millis(1)).as_secs());
    }
    assert_eq!(seconds[&("b1".to_owned(), 2)], 1);
    assert_eq!(seconds[&("a1".to_owned(), 2)], 100);
}

#[tokio::test(start_paused = true)]
async fn what_was_under_way_at_a_pause_does_not_overtake_what_was_given_back() {
    let (ctx, _canceller) = Context::root();
    let (broker, gate) = (MemoryBroker::new(), Arc::new(Semaphore::new(0)));
    let (sender, mut begun) = mpsc::unbounded_channel();
    let open = Arc::clone(&gate);
    let wait = move |_: Context, message: Incoming<Message>| {
        let _ = sender.send(message.id().to_owned());
        let open = Arc::clone(&open);
        async move { open.acquire().await.unwrap().forget() }
    };
    publish_queue(&broker).await;
    publish_keyed(&broker, &[("1", "a"), ("2", "a"), ("3", "a")]).await;
    let consumer = Consumer::new(subscription(), wait).ordered();
    let handle = consumer.spawn(&ctx, Arc::new(OneUnderWay(broker.clone())));
    until(|| handle.buffered() == 1).await;
    handle.pause();
    tokio::task::yield_now().await;
    // While the intake is being closed, which takes a second.
    handle.resume();
    handle.settled().await;
    gate.add_permits(3);
    for id in ["1", "2", "3"] {
        assert_eq!(begun.recv().await.unwrap(), id);
    }
}

/// A broker of whose first three deliveries the last arrives when another is settled, or the intake
/// is closed.
#[derive(Debug)]
struct OneUnderWay(MemoryBroker);

struct SlowSource {
    inner: Box<dyn Source>,
    held: Vec<Event>,
    has_arrived: bool,
}

#[async_trait]
impl Broker for OneUnderWay {
    fn system(&self) -> &'static str {
        "slow"
    }

    async fn source(
        &self,
        ctx: &Context,
        subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        let inner = self.0.source(ctx, subscription).await?;
        Ok(Box::new(SlowSource { inner, held: Vec::new(), has_arrived: false }))
    }

    async fn sink(&self, ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        self.0.sink(ctx).await
    }

    async fn close(&self, ctx: &Context) {
        self.0.close(ctx).await;
    }
}

#[async_trait]
impl Source for SlowSource {
    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), BrokerError> {
        if self.has_arrived && !self.held.is_empty() {
            events.append(&mut self.held);
            return Ok(());
        }
        self.inner.next(events).await?;
        if !self.has_arrived {
            self.held.extend(events.pop());
        }
        Ok(())
    }

    async fn settle(&mut self, batch: &[(Token, Verdict)]) -> Result<Settled, BrokerError> {
        self.has_arrived = true;
        self.inner.settle(batch).await
    }

    async fn set_prefetch(&mut self, prefetch: u16) -> Result<(), BrokerError> {
        if prefetch == 0 {
            sleep(SECOND).await; // tidy: on the paused clock
        }
        self.has_arrived = true;
        self.inner.set_prefetch(prefetch).await
    }

    async fn close(self: Box<Self>, ctx: &Context) -> Result<(), BrokerError> {
        self.inner.close(ctx).await
    }
}
