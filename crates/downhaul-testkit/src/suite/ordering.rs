//! Messages of one key, and those of others beside them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use downhaul_consumer::{Consumer, ConsumerHandle, Failure, Incoming, Message, State};
use downhaul_context::Context;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::yield_now;

use super::fixture::until;
use super::{Fixture, Harness, Seen};

const KEYS: usize = 20;
const EACH: usize = 25;

/// Publishes to `q` the messages of all keys by turns; their ids are `key/number`.
async fn publish_by_turns<H: Harness>(fixture: &Fixture<H>) {
    for number in 0..EACH {
        for key in 0..KEYS {
            fixture.publish_keyed("q", key, format!("{key}/{number}")).await;
        }
    }
}

/// Takes a while that differs from message to message.
async fn work(id: &str) {
    let length = id.bytes().map(usize::from).sum::<usize>() * 7_919 % 13;
    for _ in 0..length {
        yield_now().await;
    }
}

/// One after the other, as they were published, however long each takes.
pub async fn messages_of_a_key_come_in_their_order<H: Harness>(fixture: Fixture<H>) {
    if fixture.skips("order", fixture.capabilities().ordered) {
        return;
    }
    let mut seen = Seen::default();
    let record = seen.recorder();
    let see = move |_ctx: Context, message: Incoming<Message>| {
        let record = record.clone();
        async move {
            work(message.id()).await;
            record(&message);
        }
    };
    let consumer = Consumer::new(fixture.subscription("q"), see).ordered().concurrency(8);
    fixture.spawn(consumer).await;
    publish_by_turns(&fixture).await;
    let mut next = [0; KEYS];
    for id in seen.take(KEYS * EACH).await {
        let (key, number) = id.split_once('/').unwrap();
        let next = &mut next[key.parse::<usize>().unwrap()];
        assert_eq!(number, next.to_string(), "of the key {key}");
        *next += 1;
    }
}

/// What a stop gives back goes to its place, and those behind it go with it.
pub async fn messages_of_a_key_keep_their_order_over_a_stop<H: Harness>(fixture: Fixture<H>) {
    let has_places = fixture.capabilities().ordered && fixture.harness.capabilities().places;
    if fixture.skips("places", has_places) {
        return;
    }
    let mut seen = Seen::default();
    let (record, (sender, mut held)) = (seen.recorder(), mpsc::unbounded_channel());
    let to_hold = Arc::new(Mutex::new(HashSet::from(["0/7", "0/17"])));
    let hold_some = move |ctx: Context, message: Incoming<Message>| {
        let holds = to_hold.lock().unwrap().remove(message.id());
        let (record, sender) = (record.clone(), sender.clone());
        async move {
            if holds {
                let _ = sender.send(());
                return Err(Failure::from(ctx.done().await));
            }
            record(&message);
            Ok(())
        }
    };
    let consumer = Consumer::new(fixture.subscription("q"), hold_some).ordered();
    let consumer = fixture.spawn(consumer.drain_budget(Duration::from_millis(50))).await;
    consumer.stop();
    assert_eq!(consumer.settled().await, State::Stopped);
    publish_by_turns(&fixture).await;
    for end in [ConsumerHandle::stop, ConsumerHandle::drain] {
        consumer.start();
        held.recv().await.unwrap();
        end(&consumer);
        assert_eq!(consumer.settled().await, State::Stopped);
    }
    consumer.start();
    // A log repeats what was finished beyond what was given back.
    let repeats = fixture.capabilities().lanes;
    let mut next = [0; KEYS];
    while next != [EACH; KEYS] {
        let (id, _) = seen.next().await;
        let (key, number) = id.split_once('/').unwrap();
        let (key, number): (usize, usize) = (key.parse().unwrap(), number.parse().unwrap());
        let next = &mut next[key];
        assert!(number == *next || (repeats && number < *next), "{id}, not {next}");
        *next = (*next).max(number + 1);
    }
}

/// While those of other keys are.
pub async fn messages_of_a_key_are_never_handled_at_the_same_time<H: Harness>(fixture: Fixture<H>) {
    let mut seen = Seen::default();
    let (record, handled) = (seen.recorder(), Arc::new(Mutex::new(HashSet::new())));
    let alone = move |_ctx: Context, message: Incoming<Message>| {
        let handled = Arc::clone(&handled);
        let record = record.clone();
        async move {
            let key = message.key().unwrap().to_owned();
            let is_alone = handled.lock().unwrap().insert(key.clone());
            work(message.id()).await;
            handled.lock().unwrap().remove(&key);
            // A panic is a dead letter.
            assert!(is_alone, "the key {key} was being handled");
            record(&message);
        }
    };
    let consumer = Consumer::new(fixture.subscription("q"), alone).ordered().concurrency(8);
    let consumer = fixture.spawn(consumer).await;
    publish_by_turns(&fixture).await;
    let all = (KEYS * EACH) as u64;
    until(&consumer, |tally| tally.acked + tally.dead_lettered >= all).await;
    assert_eq!(consumer.tally().dead_lettered, 0, "handlers of one key met");
    seen.take(KEYS * EACH).await;
}

/// Its own messages wait for it, and nobody else.
pub async fn a_slow_key_does_not_hold_up_the_others<H: Harness>(fixture: Fixture<H>) {
    const OTHERS: usize = 40;
    let mut seen = Seen::default();
    let (record, open) = (seen.recorder(), Arc::new(Semaphore::new(0)));
    let gate = Arc::clone(&open);
    let wait_if_slow = move |_ctx: Context, message: Incoming<Message>| {
        let (record, gate) = (record.clone(), Arc::clone(&gate));
        async move {
            if message.key() == Some("slow") {
                gate.acquire().await.unwrap().forget();
            }
            record(&message);
        }
    };
    let consumer = Consumer::new(fixture.subscription("q"), wait_if_slow);
    fixture.spawn(consumer.ordered().concurrency(2).prefetch(32)).await;
    for number in 0..OTHERS {
        if number < 8 {
            fixture.publish_keyed("q", "slow", format!("slow/{number}")).await;
        }
        fixture.publish_keyed("q", number, number).await;
    }
    let others = seen.take(OTHERS).await;
    assert!(others.iter().all(|id| !id.starts_with("slow")), "{others:?}");
    open.add_permits(8);
    assert!(seen.take(8).await.iter().all(|id| id.starts_with("slow")));
}
