//! Two partitions whose messages are slow, fail or are released, as their ids say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use downhaul_consumer::{
    Consumer, ConsumerHandle, Failure, Incoming, MemoryLog, Message, Settlement, Subscription,
};
use downhaul_context::Context;
use tokio::sync::Semaphore;

use super::publish;

/// Two partitions, and who handled what of them how often.
pub(super) struct World {
    pub(super) log: MemoryLog,
    ctx: Context,
    _canceller: downhaul_context::Canceller,
    /// Lets handlers of `slow` messages end.
    pub(super) open: Arc<Semaphore>,
    /// How often a `failing` message fails before it succeeds.
    pub(super) failures: u32,
    /// How long after a failure it is tried again.
    delay: Duration,
    pub(super) handled: Arc<Mutex<BTreeMap<String, Vec<&'static str>>>>,
    attempts: Arc<Mutex<Vec<(&'static str, u32)>>>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::trying_again_after(Duration::from_millis(400))
    }

    pub(super) fn trying_again_after(delay: Duration) -> Self {
        let (ctx, canceller) = Context::root();
        let log = MemoryLog::new(2);
        log.create_topic("t");
        let (handled, attempts) = (Arc::default(), Arc::default());
        let open = Arc::new(Semaphore::new(0));
        Self { log, ctx, _canceller: canceller, open, failures: 1, delay, handled, attempts }
    }

    /// A key of a partition, by its number.
    fn key(&self, partition: usize, number: usize) -> String {
        let mut keys = (0..).map(|number| format!("key-{number}"));
        keys.by_ref().filter(|key| self.log.partition_of(key) == partition).nth(number).unwrap()
    }

    pub(super) async fn publish(&self, partition: usize, key: usize, id: &str) {
        let key = self.key(partition, key);
        publish(&self.log, Message::new("").with_key(key).with_id(id)).await;
    }

    /// One of each partition that is `first`, one behind it in its line, and ten of other keys.
    pub(super) async fn publish_all(&self, first: &str) {
        for partition in 0..2 {
            self.publish(partition, 0, &format!("{first}-{partition}")).await;
            self.publish(partition, 0, &format!("behind-{partition}")).await;
            for number in 1..=10 {
                self.publish(partition, number, &format!("other-{partition}-{number}")).await;
            }
        }
    }

    pub(super) fn consumer(&self, name: &'static str) -> Consumer {
        let (open, handled) = (Arc::clone(&self.open), Arc::clone(&self.handled));
        let attempts = Arc::clone(&self.attempts);
        let (failures, delay) = (self.failures, self.delay);
        let handle = move |ctx: Context, message: Incoming<Message>| {
            let (open, handled) = (Arc::clone(&open), Arc::clone(&handled));
            let attempts = Arc::clone(&attempts);
            async move {
                let id = message.id().to_owned();
                if id.starts_with("slow") {
                    ctx.run(open.acquire()).await??.forget();
                }
                if id.starts_with("failing") {
                    attempts.lock().unwrap().push((name, message.attempt()));
                    if message.attempt() <= failures {
                        return Err(Failure::retry_after(delay, "not yet"));
                    }
                }
                if id.starts_with("released") && message.redeliveries() == 0 {
                    ctx.run(open.acquire()).await??.forget();
                    return Ok(Settlement::Release);
                }
                handled.lock().unwrap().entry(id).or_default().push(name);
                Ok(Settlement::Ack)
            }
        };
        Consumer::new(Subscription::new("q").topic("t"), handle).named(name).prefetch(100)
    }

    pub(super) fn spawn(&self, consumer: Consumer) -> ConsumerHandle {
        consumer.spawn(&self.ctx, Arc::new(self.log.clone()))
    }

    pub(super) fn count(&self) -> usize {
        self.handled.lock().unwrap().values().map(Vec::len).sum()
    }

    /// What was handled more than once.
    pub(super) fn repeated(&self) -> Vec<String> {
        let handled = self.handled.lock().unwrap();
        let twice = handled.iter().filter(|(_, by)| by.len() > 1);
        twice.map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn of(&self, id: &str) -> Vec<&'static str> {
        self.handled.lock().unwrap().get(id).cloned().unwrap_or_default()
    }

    pub(super) fn attempts(&self) -> Vec<(&'static str, u32)> {
        self.attempts.lock().unwrap().clone()
    }
}
