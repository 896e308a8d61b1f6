//! What scenarios are written with: names of their own, a publisher, and a record of what handlers
//! saw.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Broker, Capabilities, Consumer, ConsumerHandle, Delivery, Event, Incoming, Message, Outgoing,
    Publisher, RetryPolicy, Source, State, Subscription, Tally, Verdict,
};
use downhaul_context::{Canceller, Context, RequestId};
use tokio::sync::mpsc;

use super::Harness;

/// One scenario's own corner of a broker.
#[derive(Debug)]
pub struct Fixture<H> {
    /// The broker under test and what can be done to it.
    pub harness: H,
    /// The context that everything of the scenario lives under.
    pub ctx: Context,
    /// Ends it.
    pub canceller: Canceller,
    /// Publishes to the broker.
    pub publisher: Publisher,
    scenario: &'static str,
    suffix: String,
}

impl<H: Harness> Fixture<H> {
    pub(super) fn new(harness: H, scenario: &'static str) -> Self {
        let (ctx, canceller) = Context::root();
        let publisher = Publisher::new(harness.broker());
        let suffix = RequestId::generate().to_string();
        Self { harness, ctx, canceller, publisher, scenario, suffix }
    }

    /// The broker under test.
    pub fn broker(&self) -> Arc<dyn Broker> {
        self.harness.broker()
    }

    /// Whether a scenario is skipped for want of something, which is then printed.
    pub fn skips(&self, missing: &str, has: bool) -> bool {
        if !has {
            println!("SKIPPED {}: no {missing}", self.scenario);
        }
        !has
    }

    /// What the broker declares.
    pub fn capabilities(&self) -> Capabilities {
        self.broker().capabilities()
    }

    /// A name that no other scenario uses.
    pub fn name(&self, name: &str) -> String {
        format!("{name}-{}", self.suffix)
    }

    /// The queue `name`, bound to the topic of the same name.
    pub fn subscription(&self, name: &str) -> Subscription {
        Subscription::new(self.name(name)).topic(self.name(name))
    }

    /// Publishes `id` with the id as its payload to the topic `name`.
    pub async fn publish(&self, name: &str, id: impl ToString) {
        let id = id.to_string();
        let message = Message::new(id.clone()).with_id(id);
        let outgoing = Outgoing::to_topic(self.name(name), message);
        self.publisher.publish(&self.ctx, outgoing).await.expect("confirmed");
    }

    /// Publishes `id` with a key to the topic `name`.
    pub async fn publish_keyed(&self, name: &str, key: impl ToString, id: impl ToString) {
        let message = Message::new("").with_id(id.to_string()).with_key(key.to_string());
        let outgoing = Outgoing::to_topic(self.name(name), message);
        self.publisher.publish(&self.ctx, outgoing).await.expect("confirmed");
    }

    /// Publishes the numbers from 0 as messages.
    pub async fn publish_numbers(&self, name: &str, count: u32) {
        for number in 0..count {
            self.publish(name, number).await;
        }
    }

    /// Spawns a consumer and waits until it runs.
    pub async fn spawn(&self, consumer: Consumer) -> ConsumerHandle {
        let handle = consumer.spawn(&self.ctx, self.broker());
        assert_eq!(handle.settled().await, State::Running);
        handle
    }

    /// Reads `count` messages straight from a queue and acknowledges them.
    pub async fn read(&self, queue: &str, count: usize) -> Vec<Delivery> {
        let subscription = Subscription::new(queue);
        let mut source = self.broker().source(&self.ctx, &subscription).await.expect("opened");
        let mut deliveries = Vec::new();
        while deliveries.len() < count {
            let arrived = next(&mut *source).await;
            let batch: Vec<_> =
                arrived.iter().map(|delivery| (delivery.token, Verdict::Ack)).collect();
            source.settle(&batch).await.expect("settled");
            deliveries.extend(arrived);
        }
        source.close(&self.ctx).await.expect("closed");
        deliveries
    }

    /// Reads one dead letter of the queue `name` and returns it with its reason.
    pub async fn dead_letter(&self, name: &str) -> (Message, String) {
        let queue = self.subscription(name).dead_letter_queue();
        let message = self.read(&queue, 1).await.remove(0).message;
        let reason = message.headers().get(downhaul_consumer::headers::DEAD_REASON);
        let reason = reason.expect("a dead letter has a reason").to_owned();
        (message, reason)
    }
}

/// The next deliveries of a source.
pub(super) async fn next(source: &mut dyn Source) -> Vec<Delivery> {
    let (mut events, mut deliveries) = (Vec::new(), Vec::new());
    while deliveries.is_empty() {
        source.next(&mut events).await.expect("the source is alive");
        deliveries.extend(events.drain(..).filter_map(Event::into_delivery));
    }
    deliveries
}

/// Waits until a consumer has done enough.
pub(super) async fn until(handle: &ConsumerHandle, is_enough: impl Fn(&Tally) -> bool) {
    while !is_enough(&handle.tally()) {
        tokio::task::yield_now().await;
    }
}

/// A policy that loses no time: three attempts, milliseconds apart.
pub(super) fn quick_retries() -> RetryPolicy {
    let short = Duration::from_millis(2);
    RetryPolicy::default().attempts(3).backoff(short, short)
}

/// A record of the messages that handlers saw, in the order in which they came.
#[derive(Debug)]
pub struct Seen {
    sender: mpsc::UnboundedSender<(String, u32)>,
    receiver: mpsc::UnboundedReceiver<(String, u32)>,
}

impl Default for Seen {
    fn default() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver }
    }
}

impl Seen {
    /// A function for handlers to record a message with.
    pub fn recorder(&self) -> impl Fn(&Incoming<Message>) + Clone + Send + Sync + 'static + use<> {
        let sender = self.sender.clone();
        move |message| {
            let _ = sender.send((message.id().to_owned(), message.attempt()));
        }
    }

    /// A consumer whose handler records each message and is ready at once.
    pub fn recording(&self, subscription: Subscription) -> Consumer {
        let record = self.recorder();
        let see = move |_ctx: Context, message: Incoming<Message>| {
            record(&message);
            async {}
        };
        Consumer::new(subscription, see)
    }

    /// Waits for the next message and returns its id and attempt.
    pub async fn next(&mut self) -> (String, u32) {
        // The record keeps a sender of its own, so that the channel never closes.
        self.receiver.recv().await.unwrap_or_default()
    }

    /// Waits for `count` messages and returns their ids.
    pub async fn take(&mut self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        while ids.len() < count {
            ids.push(self.next().await.0);
        }
        ids
    }

    /// Waits for `count` messages and returns their ids, sorted: of messages without a key, no
    /// order is promised.
    pub async fn take_sorted(&mut self, count: usize) -> Vec<String> {
        let mut ids = self.take(count).await;
        ids.sort_unstable();
        ids
    }

    /// Whether nothing was recorded that was not asked for yet.
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }
}
