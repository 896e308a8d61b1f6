//! [`Publishing`]: publishers that go on whatever happens.

use std::time::Duration;

use downhaul_consumer::{Message, Outgoing, Publisher};
use downhaul_context::Context;
use fastrand::Rng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::soon;
use crate::oracle::Oracle;

/// Publishers that go on until they are stopped.
pub(super) struct Publishing {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Publishing {
    pub(super) fn new() -> Self {
        Self { stop: watch::Sender::new(false), tasks: JoinSet::new() }
    }

    pub(super) fn add(&mut self, publisher: OnePublisher) {
        self.tasks.spawn(publisher.run(self.stop.subscribe()));
    }

    pub(super) async fn stop(mut self) {
        self.stop.send_replace(true);
        while let Some(published) = soon("the publishers stop", self.tasks.join_next()).await {
            published.unwrap();
        }
    }
}

/// Publishes each message when the one before is known.
pub(super) struct OnePublisher {
    pub(super) oracle: Oracle,
    pub(super) publisher: Publisher,
    pub(super) queue: String,
    /// Messages without keys are in no order.
    pub(super) has_keys: bool,
    /// What ids begin with, and the key where there is one.
    pub(super) name: String,
    pub(super) rng: Rng,
    /// How a message gets into the queue.
    pub(super) outgoing: fn(&str, Message) -> Outgoing,
}

impl OnePublisher {
    async fn run(mut self, stopped: watch::Receiver<bool>) {
        let ctx = Context::background();
        for number in 0_u64.. {
            if *stopped.borrow() {
                return;
            }
            let (name, body) = (&self.name, body(&mut self.rng));
            let message = match self.has_keys {
                true => self.oracle.message(name, body),
                false => Message::new(body).with_id(format!("{name}/{number}")),
            };
            let outgoing = (self.outgoing)(&self.queue, message);
            let publish = self.oracle.publish_until_known(&self.publisher, &ctx, outgoing);
            publish.await.unwrap();
            // tidy: a pace that the consumers can keep, for as long as the faults take
            sleep(Duration::from_millis(self.rng.u64(15..45))).await;
        }
    }
}

/// Mostly small, some larger than what fits into a segment, few larger than a buffer.
fn body(rng: &mut Rng) -> String {
    let length = match rng.u8(..20) {
        0 => 50_000,
        1..5 => 5_000,
        _ => 100,
    };
    "x".repeat(rng.usize(..length))
}
