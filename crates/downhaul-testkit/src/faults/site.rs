//! [`Site`]: what a broker brings to a run.

use std::sync::Arc;

use async_trait::async_trait;
use downhaul_consumer::{Broker, ConsumerHandle, Message, Outgoing, Subscription};

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

    /// How a queue is read.
    fn subscription(&self, queue: &str) -> Subscription {
        Subscription::new(queue)
    }

    /// How a message gets into a queue.
    fn outgoing(queue: &str, message: Message) -> Outgoing
    where
        Self: Sized,
    {
        Outgoing::to_queue(queue, message)
    }

    /// The watch that logs when the consumer `instance` loses its link.
    fn watch(&self, oracle: &Oracle, instance: &str, unsettled: u32) -> Option<LinkWatch>;

    /// Makes a fault of the broker itself, lets it last, and heals it.
    ///
    /// # Panics
    ///
    /// If it is not on the menu.
    async fn suffer(&mut self, round: &Round, fault: Fault);

    /// Waits until queues are empty and their consumers have nothing in hand, and stay so.
    async fn drained(&self, consumers: &[&ConsumerHandle], queues: &[&str]);

    /// Looks at the broker when a round is over and its consumers still run.
    ///
    /// # Panics
    ///
    /// If the broker has not what it should have.
    fn inspect(&self, round: &Round) {
        let _ = round;
    }

    /// What to look at when nothing moves.
    fn state(&self) -> String;
}
