//! Partitions that move over and over, under load.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use downhaul_consumer::{Consumer, ConsumerHandle, Incoming, MemoryLog, Message, Subscription};
use downhaul_context::Context;
use tokio::task::yield_now;

use super::{publish, until};

const KEYS: usize = 10;
const REBALANCES: usize = 100;

/// A message by its key and its number among those of the key, and its place in its partition.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Handled {
    key: String,
    number: usize,
    partition: usize,
    offset: usize,
}

impl Handled {
    fn of(message: &Message) -> Self {
        let mut parts = message.id().split('/').map(|part| part.parse().unwrap());
        let mut next = || parts.next().unwrap();
        let key = message.key().unwrap().to_owned();
        Self { key, number: next(), partition: next(), offset: next() }
    }
}

/// What was handled to its end by anybody, in that order.
#[derive(Clone, Debug, Default)]
struct Record(Arc<Mutex<Vec<Handled>>>);

impl Record {
    fn consumer(&self) -> Consumer {
        let record = self.clone();
        let handle = move |_ctx: Context, message: Incoming<Message>| {
            let record = record.clone();
            async move {
                let handled = Handled::of(message.message());
                for _ in 0..(handled.number * 7 + handled.offset * 3) % 11 {
                    yield_now().await;
                }
                record.0.lock().unwrap().push(handled);
            }
        };
        Consumer::new(Subscription::new("q").topic("t"), handle).concurrency(8).prefetch(24)
    }

    fn all(&self) -> Vec<Handled> {
        self.0.lock().unwrap().clone()
    }
}

/// Publishes the next message of each key.
async fn publish_round(log: &MemoryLog, round: usize) {
    for key in 0..KEYS {
        let key = format!("key-{key}");
        let partition = log.partition_of(&key);
        let id = format!("{round}/{partition}/{}", log.end_offset("t", partition));
        publish(log, Message::new("").with_key(key).with_id(id)).await;
    }
}

/// A consumer that stays, and two that come and go, until there were enough rebalances; and then
/// until all is handled. Returns how many were published.
async fn come_and_go(log: &MemoryLog, consumer: impl Fn() -> Consumer) -> usize {
    let (ctx, _canceller) = Context::root();
    log.create_topic("t");
    let spawn = || consumer().spawn(&ctx, Arc::new(log.clone()));
    let (stays, guests) = (spawn(), [spawn(), spawn()]);
    let mut rounds = 0;
    for turn in 0..REBALANCES {
        let guest = &guests[turn / 2 % 2];
        toggle(guest, turn % 2 == 0);
        // Not waited for: the next one may come while this one is under way.
        for _ in 0..turn % 7 {
            publish_round(log, rounds).await;
            rounds += 1;
            yield_now().await;
        }
        if turn % 3 == 0 {
            guest.settled().await;
        }
    }
    guests.iter().for_each(ConsumerHandle::start);
    until(|| log.lag("q") == 0).await;
    let lost = guests.iter().chain([&stays]).map(|handle| handle.tally().lost);
    assert_eq!(lost.sum::<u64>(), 0, "all had time enough");
    assert!(guests.iter().all(|guest| guest.tally().acked > 0), "nothing moved");
    rounds * KEYS
}

fn toggle(guest: &ConsumerHandle, stops: bool) {
    if stops { guest.stop() } else { guest.start() }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_rebalances_lose_nothing_and_repeat_nothing_where_messages_begin_in_turn() {
    let (log, record) = (MemoryLog::new(6), Record::default());
    let published = come_and_go(&log, || record.consumer()).await;
    let mut places = BTreeMap::new();
    for handled in record.all() {
        let place = (handled.partition, handled.offset);
        assert_eq!(places.insert(place, handled), None, "handled twice");
    }
    assert_eq!(places.len(), published);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_rebalances_keep_the_order_of_keys_and_repeat_nothing() {
    // Few partitions for many keys, so that some are finished before those that wait for their key.
    let (log, record) = (MemoryLog::new(3), Record::default());
    let published = come_and_go(&log, || record.consumer().ordered()).await;
    let mut next = BTreeMap::new();
    for handled in record.all() {
        let next = next.entry(handled.key.clone()).or_insert(0);
        assert_eq!(handled.number, *next, "{handled:?} out of turn, or again");
        *next += 1;
    }
    assert_eq!(record.all().len(), published);
}
