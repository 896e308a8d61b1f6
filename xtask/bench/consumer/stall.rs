//! How long a consumer with a full buffer holds up whoever else is on its thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use downhaul_consumer::{
    Consumer, ConsumerHandle, Incoming, MemoryBroker, Message, Outgoing, Publisher, Subscription,
};
use downhaul_context::Context;
use nix::time::{ClockId, clock_gettime};
use tokio::sync::Semaphore;
use tokio::task::yield_now;

use super::ours::runtime;
use super::{BURST, PAYLOAD};
use crate::case::{Case, Goal};
use crate::peers::FEW_BUFFERED;

/// As many as a consumer can have: a prefetch goes no further.
const MANY: u16 = u16::MAX;
const FEW: u16 = 1024;

/// From pause to resume to the end of a drain, the longest time without a turn for others.
pub(super) fn cases() -> Vec<Case> {
    let name = "longest stall, 65,535 buffered";
    vec![Case::new(name, FEW_BUFFERED, Goal::Nanoseconds(1e7), |probe| {
        probe.stopwatch(|| longest_stall(MANY), || longest_stall(FEW))
    })]
}

/// The time of the thread, since on a busy machine others' work is in all other clocks.
fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock").into()
}

/// What a task on the same thread sees that only ever yields.
#[derive(Clone, Default)]
struct Witness(Arc<AtomicU64>);

impl Witness {
    async fn watch(self) {
        let mut last = now();
        loop {
            yield_now().await;
            let now = now();
            let stall = u64::try_from((now - last).as_nanos()).unwrap_or(u64::MAX);
            self.0.fetch_max(stall, Ordering::Relaxed);
            last = now;
        }
    }

    /// The longest stall since the last call.
    async fn take(&self) -> Duration {
        // The witness has its turn too.
        for _ in 0..4 {
            yield_now().await;
        }
        Duration::from_nanos(self.0.swap(0, Ordering::Relaxed))
    }
}

fn longest_stall(buffered: u16) -> Duration {
    let (runtime, witness) = (runtime(), Witness::default());
    runtime.spawn(witness.clone().watch());
    runtime.block_on(async {
        let (ctx, _canceller) = Context::root();
        let (broker, gate) = (Arc::new(MemoryBroker::new()), Arc::new(Semaphore::new(0)));
        let held = Arc::clone(&gate);
        let handle = move |_ctx: Context, _message: Incoming<Message>| {
            let held = Arc::clone(&held);
            async move { held.acquire().await.expect("it is open").forget() }
        };
        let consumer = Consumer::new(Subscription::new("q").topic("t"), handle);
        let consumer = consumer.concurrency(1).prefetch(buffered).spawn(&ctx, broker.clone());
        consumer.settled().await;
        fill(&Publisher::new(broker), &ctx, buffered).await;
        holds(&consumer, buffered - 1).await;
        witness.take().await;
        consumer.pause();
        holds(&consumer, 0).await;
        consumer.resume();
        holds(&consumer, buffered - 1).await;
        gate.add_permits(buffered.into());
        consumer.drain();
        consumer.settled().await;
        assert_eq!(consumer.tally().acked, u64::from(buffered));
        witness.take().await
    })
}

async fn fill(publisher: &Publisher, ctx: &Context, count: u16) {
    for number in 0..count {
        let message = Message::new(Bytes::copy_from_slice(&PAYLOAD));
        let sent = publisher.publish(ctx, Outgoing::to_topic("t", message)).await;
        sent.expect("the queue takes it");
        if u32::from(number) % BURST == 0 {
            yield_now().await;
        }
    }
}

/// Waits until so many are buffered.
async fn holds(consumer: &ConsumerHandle, count: u16) {
    while consumer.buffered() != usize::from(count) {
        yield_now().await;
    }
}
