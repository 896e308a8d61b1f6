//! [`Site`]: what a broker brings to a run.

use std::sync::Arc;

use async_trait::async_trait;
use downhaul_consumer::{Broker, ConsumerHandle, Message, Outgoing, Subscription};

use super::all_idle;
use super::fault::Fault;
use super::menu::Menu;
use super::round::Round;
use crate::oracle::{LinkWatch, Oracle};
use crate::proxy::Proxy;

/// A broker that a run may break, and how to deal with it.
#[async_trait(?Send)]
pub trait Site {
    /// The faults that can be made here.
    fn menu(&self) -> Menu;

    /// The broker of the queue [`STOCK`](super::STOCK) and that of [`CROWD`](super::CROWD), with
    /// links that go through [`proxy`](Self::proxy).
    fn brokers(&self) -> [Arc<dyn Broker>; 2];

    /// What stands in front of the broker. Without it, no fault of links may be on the menu.
    fn proxy(&self) -> Option<&Proxy>;

    /// Hears that a round begins.
    fn begin(&mut self, round: u32) {
        let _ = round;
    }

    /// How a queue is read. Its name may be another one in each round.
    fn subscription(&self, queue: &str) -> Subscription {
        Subscription::new(queue)
    }

    /// How a message gets into the queue of that name.
    fn outgoing(queue: &str, message: Message) -> Outgoing
    where
        Self: Sized,
    {
        Outgoing::to_queue(queue, message)
    }

    /// The watch that logs when the consumer `instance` loses its link, where settlements depend
    /// on it.
    fn watch(&self, oracle: &Oracle, instance: &str, unsettled: u32) -> Option<LinkWatch> {
        let _ = (oracle, instance, unsettled);
        None
    }

    /// The broker as the consumer `instance` has it: [overheard](Oracle::overhear) where it is the
    /// client that knows of losses, or [only its moves](Oracle::overhear_moves).
    fn overheard(
        &self,
        oracle: &Oracle,
        instance: &str,
        broker: &Arc<dyn Broker>,
    ) -> Arc<dyn Broker> {
        let _ = (oracle, instance);
        Arc::clone(broker)
    }

    /// Whether publishers may be left without an answer here, and try again. Where a client does so
    /// by itself, they never are.
    fn leaves_publishes_unknown(&self) -> bool {
        true
    }

    /// Makes a fault of the broker itself, lets it last, and heals it.
    ///
    /// # Panics
    ///
    /// If it is not on the menu.
    async fn suffer(&mut self, round: &Round, fault: Fault);

    /// Whether the broker tells what waits in a queue. Where it does not, a round ends when all
    /// that is known to be published is known to be handled, and looks once more what comes.
    fn counts(&self) -> bool {
        true
    }

    /// Whether what all consumers of a queue have left can be read again.
    fn can_look_again(&self) -> bool {
        true
    }

    /// Waits until queues are empty and their consumers have nothing in hand, and stay so. Called
    /// only where the site says that it [counts](Self::counts).
    async fn drained(&self, consumers: &[&ConsumerHandle], queues: &[&str]) {
        let _ = queues;
        all_idle(consumers).await;
    }

    /// Looks at the broker when a round is over and its consumers still run. One of them may have
    /// been cut off a moment ago, so this waits.
    ///
    /// # Panics
    ///
    /// If the broker does not come to have what it should have.
    async fn inspect(&self, round: &Round) {
        let _ = round;
    }

    /// Why what stands in for a broker is to blame where nothing moves any more. Somebody who is
    /// not tested must have met the same. The run ends there, and says so.
    async fn blamed(&self) -> Option<String> {
        None
    }

    /// What to look at when nothing moves.
    fn state(&self) -> String;
}
