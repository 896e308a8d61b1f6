//! Many messages in one call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use downhaul_consumer::headers::DEAD_REASON;
use downhaul_consumer::{
    Batches, Broker, Consumer, Decode, DecodeError, Failure, Incoming, IntoOutcomes, Json,
    KillSwitch, MemoryBroker, Message, Settlement,
};
use downhaul_context::{Context, Instant};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::sleep;

use crate::support::{SECOND, publish, publish_numbers, spawn, subscription, until};

type Seen = mpsc::UnboundedReceiver<(Vec<String>, Instant)>;

fn ids<M>(batch: &[Incoming<M>]) -> Vec<String> {
    batch.iter().map(|message| message.id().to_owned()).collect()
}

/// A consumer that tells of each batch and returns what `answer` makes of it.
fn telling<R: IntoOutcomes + Send + 'static>(
    batches: Batches,
    answer: impl Fn(&[Incoming<Message>]) -> R + Send + Sync + 'static,
) -> (Consumer, Seen) {
    let (sender, seen) = mpsc::unbounded_channel();
    let handle = move |_: Context, batch: Vec<Incoming<Message>>| {
        let _ = sender.send((ids(&batch), Instant::now()));
        let answer = answer(&batch);
        async move { answer }
    };
    (Consumer::batches(subscription(), batches, handle), seen)
}

#[tokio::test(start_paused = true)]
async fn a_batch_comes_when_it_is_full_or_its_time_is_over() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (consumer, mut seen) = telling(Batches::of(3).within(5 * SECOND), |_| ());
    let handle = spawn(consumer, &ctx, &broker).await;
    let begun = Instant::now();
    publish_numbers(&broker, 5).await;
    let (full, at) = seen.recv().await.unwrap();
    assert_eq!((full, at - begun), (numbers(0..3), Duration::ZERO));
    let (rest, at) = seen.recv().await.unwrap();
    assert_eq!((rest, (at - begun).as_secs()), (numbers(3..5), 5));
    until(|| handle.tally().acked == 5).await;
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn draining_finishes_a_batch_that_is_not_full() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (consumer, mut seen) = telling(Batches::of(100).within(3600 * SECOND), |_| ());
    let handle = spawn(consumer, &ctx, &broker).await;
    publish_numbers(&broker, 2).await;
    until(|| handle.buffered() == 2).await;
    handle.drain();
    handle.settled().await;
    assert_eq!(seen.recv().await.unwrap().0, numbers(0..2));
    assert_eq!((handle.tally().acked, handle.tally().released), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn stopping_gives_back_a_batch_that_is_not_begun() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (consumer, _seen) = telling(Batches::of(100).within(3600 * SECOND), |_| ());
    let handle = spawn(consumer, &ctx, &broker).await;
    publish_numbers(&broker, 2).await;
    until(|| handle.buffered() == 2).await;
    handle.stop();
    handle.settled().await;
    assert_eq!((handle.tally().released, broker.depth("q").ready), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn each_message_of_a_batch_has_its_own_result() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let results = |batch: &[Incoming<Message>]| {
        let result = |message: &Incoming<Message>| match message.id() {
            "1" => Err(Failure::permanent("no such product")),
            "2" if message.attempt() == 1 => Err(Failure::retry_after(SECOND, "not yet")),
            _ => Ok(()),
        };
        batch.iter().map(result).collect::<Vec<Result<(), Failure>>>()
    };
    let (consumer, mut seen) = telling(Batches::of(4).within(SECOND), results);
    let handle = spawn(consumer, &ctx, &broker).await;
    publish_numbers(&broker, 4).await;
    assert_eq!(seen.recv().await.unwrap().0, numbers(0..4));
    assert_eq!(seen.recv().await.unwrap().0, ["2"]);
    until(|| handle.tally().acked == 3).await;
    assert_eq!(handle.tally().dead_lettered, 1);
    assert_eq!(reasons(&broker), ["no such product"]);
}

fn reasons(broker: &MemoryBroker) -> Vec<String> {
    let dead = broker.ready("q.dead");
    dead.iter().map(|message| message.headers().get(DEAD_REASON).unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn one_failure_is_that_of_every_message() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let fail = |_: &[Incoming<Message>]| Err::<(), _>(Failure::permanent("the table is gone"));
    let (consumer, _seen) = telling(Batches::of(2), fail);
    let handle = spawn(consumer, &ctx, &broker).await;
    publish_numbers(&broker, 2).await;
    until(|| handle.tally().dead_lettered == 2).await;
    assert_eq!(reasons(&broker), ["the table is gone"; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_number_of_results_acknowledges_nothing() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (consumer, _seen) = telling(Batches::of(2), |_| vec![Settlement::Ack]);
    let handle = spawn(consumer, &ctx, &broker).await;
    publish_numbers(&broker, 2).await;
    until(|| handle.tally().dead_lettered == 2).await;
    assert_eq!(reasons(&broker), ["the handler returned 1 results for 2 messages"; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_the_end_of_its_batch_and_of_no_other() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let gate = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&gate);
    let handle = move |_: Context, batch: Vec<Incoming<Message>>| {
        let wait = Arc::clone(&wait);
        async move {
            assert_ne!(batch[0].id(), "0", "planted");
            wait.acquire().await.unwrap().forget();
        }
    };
    let consumer = Consumer::batches(subscription(), Batches::of(2), handle).concurrency(2);
    let handle = spawn(consumer, &ctx, &broker).await;
    publish_numbers(&broker, 4).await;
    until(|| handle.tally().dead_lettered == 2).await;
    let reasons = reasons(&broker);
    assert!(reasons.len() == 2 && reasons.iter().all(|it| it.contains("planted")), "{reasons:?}");
    until(|| handle.in_flight().len() == 2).await;
    gate.add_permits(1);
    until(|| handle.tally().acked == 2).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_decoded_is_not_in_the_batch() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (sender, mut seen) = mpsc::unbounded_channel();
    let handle = move |_: Context, batch: Vec<Incoming<Json<u32>>>| {
        let _ = sender.send(batch.iter().map(|message| message.body.0).collect::<Vec<_>>());
        async {}
    };
    let consumer = Consumer::batches(subscription(), Batches::of(3), handle);
    let handle = spawn(consumer, &ctx, &broker).await;
    for body in ["1", "{broken", "3"] {
        publish(&broker, Message::new(body)).await;
    }
    assert_eq!(seen.recv().await.unwrap(), [1, 3]);
    until(|| handle.tally().acked == 2 && handle.tally().dead_lettered == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_one_key_if_asked() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let (consumer, mut seen) = telling(Batches::of(2).by_key(), |_| ());
    spawn(consumer, &ctx, &broker).await;
    for (id, key) in [("a1", "a"), ("b1", "b"), ("a2", "a"), ("b2", "b")] {
        publish(&broker, Message::new("").with_id(id).with_key(key)).await;
    }
    assert_eq!(seen.recv().await.unwrap().0, ["a1", "a2"]);
    assert_eq!(seen.recv().await.unwrap().0, ["b1", "b2"]);
}

#[tokio::test(start_paused = true)]
async fn the_prefetch_fills_as_many_batches_as_are_handled_at_a_time_and_one_more() {
    let (consumer, _seen) = telling(Batches::of(50), |_| ());
    let (ctx, _canceller) = Context::root();
    let handle = spawn(consumer.concurrency(3), &ctx, &MemoryBroker::new()).await;
    assert_eq!(handle.settings().prefetch(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_may_have_brought_down_its_consumers_is_a_batch_of_its_own() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let mut source = broker.source(&ctx, &subscription().with_prefetch(1)).await.unwrap();
    publish_numbers(&broker, 1).await;
    source.next(&mut Vec::new()).await.unwrap();
    drop(source);
    publish(&broker, Message::new("").with_id("1")).await;
    publish(&broker, Message::new("").with_id("2")).await;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (sender, mut seen) = mpsc::unbounded_channel();
    let noted = Arc::clone(&most);
    let work = move |_: Context, batch: Vec<Incoming<Message>>| {
        let (now, most, sender) = (Arc::clone(&now), Arc::clone(&noted), sender.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(SECOND).await; // tidy: on the paused clock
            now.fetch_sub(1, Ordering::SeqCst);
            let _ = sender.send(ids(&batch));
        }
    };
    let consumer = Consumer::batches(subscription(), Batches::of(2), work).alone_after(1);
    let handle = spawn(consumer, &ctx, &broker).await;
    assert_eq!(seen.recv().await.unwrap(), ["0"]);
    assert_eq!(seen.recv().await.unwrap(), ["1", "2"]);
    assert_eq!(most.load(Ordering::SeqCst), 1, "others at the same time");
    until(|| handle.tally().acked == 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_kill_switch_tries_one_message_and_no_batch() {
    let (ctx, _canceller) = Context::root();
    let (broker, fails) = (MemoryBroker::new(), AtomicBool::new(true));
    let once = move |_: &[Incoming<Message>]| match fails.swap(false, Ordering::SeqCst) {
        true => Err(Failure::permanent("the table is gone")),
        false => Ok(()),
    };
    let (consumer, mut seen) = telling(Batches::of(2), once);
    let switch = KillSwitch::default().at_least(1).pause(30 * SECOND);
    let consumer = consumer.concurrency(2).kill_switch(switch);
    let handle = spawn(consumer, &ctx, &broker).await;
    publish_numbers(&broker, 2).await;
    handle.wait_for(|status| status.suspended_until.is_some()).await.unwrap();
    for id in ["3", "4", "5", "6", "7"] {
        publish(&broker, Message::new("").with_id(id)).await;
    }
    let mut batches = Vec::new();
    while batches.len() < 4 {
        batches.push(seen.recv().await.unwrap().0);
    }
    assert_eq!(batches, [&["0", "1"][..], &["3"], &["4", "5"], &["6", "7"]]);
    assert_eq!(handle.status().suspended_until, None);
}

#[tokio::test(start_paused = true)]
async fn what_is_gathered_is_buffered_and_begun_early_when_it_holds_enough_bytes() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let gate = Arc::new(Semaphore::new(0));
    let open = Arc::clone(&gate);
    let (sender, mut seen) = mpsc::unbounded_channel();
    let wait = move |_: Context, batch: Vec<Incoming<Message>>| {
        let (open, sender) = (Arc::clone(&open), sender.clone());
        async move {
            let _ = sender.send(batch.len());
            open.acquire().await.unwrap().forget();
        }
    };
    let batches = Batches::of(100).within(3600 * SECOND);
    let consumer = Consumer::batches(subscription(), batches, wait).concurrency(1);
    let handle = spawn(consumer.buffered_bytes(1000), &ctx, &broker).await;
    for _ in 0..50 {
        publish(&broker, Message::new(vec![0; 100])).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(seen.try_recv().unwrap(), 10);
    let snapshot = handle.snapshot();
    assert_eq!((snapshot.buffered, snapshot.buffered_bytes), (10, 1000));
    gate.add_permits(100);
    until(|| handle.tally().acked == 50).await;
}

/// What cannot be decoded, and not even be refused.
#[derive(Debug)]
struct Fragile;

impl Decode for Fragile {
    fn decode(message: &Message) -> Result<Self, DecodeError> {
        if message.id() == "1" {
            panic!("planted");
        }
        Ok(Self)
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_decoder_panics_costs_the_others_of_its_batch_nothing() {
    let (ctx, _canceller) = Context::root();
    let broker = MemoryBroker::new();
    let handle = |_: Context, _: Vec<Incoming<Fragile>>| async {};
    let consumer = Consumer::batches(subscription(), Batches::of(3), handle);
    let handle = spawn(consumer, &ctx, &broker).await;
    publish_numbers(&broker, 3).await;
    until(|| handle.tally().acked + handle.tally().dead_lettered == 3).await;
    assert_eq!(reasons(&broker), ["the decoder panicked: planted"]);
}
