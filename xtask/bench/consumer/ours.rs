//! Ours: the memory broker, a consumer and a publisher.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use downhaul_consumer::{
    Consumer, Incoming, MemoryBroker, Message, Outgoing, Publisher, Subscription,
};
use downhaul_context::{Canceller, Context};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use super::{BURST, PAYLOAD, carry};
use crate::lap::{Lap, Reading};

/// What handlers count in.
#[derive(Default)]
pub(super) struct Count {
    left: AtomicU32,
    done: Notify,
}

impl Count {
    pub(super) fn expect(&self, count: u32) {
        self.left.store(count, Ordering::Relaxed);
    }

    pub(super) fn one(&self) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.done.notify_one();
        }
    }

    pub(super) async fn all(&self) {
        self.done.notified().await;
    }
}

/// A consumer that runs, and the runtime that it and its publisher share.
pub(super) struct Line {
    runtime: Runtime,
    ctx: Context,
    _canceller: Canceller,
    publisher: Publisher,
    count: Arc<Count>,
    keys: Vec<String>,
}

impl Line {
    /// With so many handlers at a time; ordered by so many keys, if any.
    pub(super) fn new(concurrency: u16, keys: usize) -> Self {
        let runtime = runtime();
        let (ctx, canceller) = Context::root();
        let (broker, count) = (Arc::new(MemoryBroker::new()), Arc::new(Count::default()));
        let counted = Arc::clone(&count);
        // Bytes of its own would cost the handler an allocation: the broker has them too until the
        // message is settled.
        let handle = move |_ctx: Context, message: Incoming<Message>| {
            let counted = Arc::clone(&counted);
            async move {
                assert_eq!(message.body.payload().len(), PAYLOAD.len());
                counted.one();
            }
        };
        let consumer = Consumer::new(Subscription::new("q").topic("t"), handle);
        let mut consumer = consumer.concurrency(concurrency).prefetch(BURST_AS_PREFETCH);
        if keys > 0 {
            consumer = consumer.ordered();
        }
        runtime.block_on(async { consumer.spawn(&ctx, broker.clone()).settled().await });
        let keys = (0..keys).map(|key| format!("customer-{key}")).collect();
        let publisher = Publisher::new(broker);
        Self { runtime, ctx, _canceller: canceller, publisher, count, keys }
    }

    pub(super) fn carry(&self, lap: &Lap<'_>) -> Reading {
        self.runtime.block_on(carry(lap, async |messages| self.send(messages).await))
    }

    async fn send(&self, count: u32) {
        self.count.expect(count);
        for number in 0..count {
            let mut message = Message::new(Bytes::copy_from_slice(&PAYLOAD));
            if let Some(key) = self.keys.get(number as usize * 7919 % self.keys.len().max(1)) {
                message = message.with_key(key.as_str());
            }
            let outgoing = Outgoing::to_topic("t", message);
            self.publisher.publish(&self.ctx, outgoing).await.expect("the queue takes it");
            if number % BURST == 0 {
                tokio::task::yield_now().await;
            }
        }
        self.count.all().await;
    }
}

/// As many as a publisher sends at a time.
const BURST_AS_PREFETCH: u16 = 256;

pub(super) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime can be made")
}
