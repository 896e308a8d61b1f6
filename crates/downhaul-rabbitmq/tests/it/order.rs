//! Order a key, whatever a consumer is told meanwhile: with one consumer, and with one that takes
//! over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Consumer, ConsumerHandle, Incoming, Json, Message, Outgoing, Publisher, State, Subscription,
};
use downhaul_context::Context;
use downhaul_rabbitmq::{Queue, RabbitMq, Topology};
use downhaul_testkit::rabbitmq::shared;
use downhaul_testkit::unique;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::support::{broker_at, soon};

const KEYS: u32 = 4;
const ALL: u32 = 600;
/// More than RabbitMQ gives back in order when it is told of all of them at once: 32.
const PREFETCH: u16 = 64;

fn broker(queue: &Queue, lost: &str) -> Arc<RabbitMq> {
    let topology = Topology::new().queue(Queue::classic(lost)).queue(queue.clone());
    Arc::new(broker_at(&shared()).topology(topology).unwrap())
}

/// Tells which message it has handled.
async fn spawn(
    queue: &str,
    broker: Arc<RabbitMq>,
    handled: &mpsc::UnboundedSender<(String, u32)>,
) -> ConsumerHandle {
    let handled = handled.clone();
    let handle = move |_: Context, message: Incoming<Json<u32>>| {
        let handled = handled.clone();
        async move {
            // tidy: work, so that there is some under way
            sleep(Duration::from_millis(1)).await;
            handled.send((message.key().unwrap().to_owned(), message.body.0)).unwrap();
        }
    };
    let consumer = Consumer::new(Subscription::new(queue), handle).ordered();
    let consumer = consumer.concurrency(16).prefetch(PREFETCH);
    let handle = consumer.spawn(&Context::background(), broker);
    assert_eq!(soon("it runs", handle.settled()).await, State::Running);
    handle
}

/// What was handled so far.
#[derive(Default)]
struct Ledger {
    last: HashMap<String, u32>,
    count: u32,
}

impl Ledger {
    /// Waits for so many more, and checks that none comes before one that was published before it.
    async fn take(&mut self, handled: &mut mpsc::UnboundedReceiver<(String, u32)>, count: u32) {
        for _ in 0..count {
            let (key, number) = soon("a message", handled.recv()).await.unwrap();
            let last = self.last.insert(key, number);
            assert!(last < Some(number), "{number} after {last:?}");
            self.count += 1;
        }
    }
}

/// Handles all, and says to the first consumer what is to be said, again and again.
async fn is_in_order(
    queue: impl Fn(&str) -> Queue,
    has_second: bool,
    say: impl AsyncFn(&ConsumerHandle),
) {
    let (name, lost) = (unique("order"), unique("lost"));
    let queue = queue(&name).dead_letter_to_queue(&*lost);
    let one = broker(&queue, &lost);
    let (sender, mut handled) = mpsc::unbounded_channel();
    let publisher = Publisher::new(Arc::clone(&one) as _);
    let messages = (0..ALL).map(|number| {
        let message = Message::json(&number).unwrap().with_key(format!("k{}", number % KEYS));
        Outgoing::to_queue(name.clone(), message)
    });
    // The source declares the queue.
    let first = spawn(&name, one, &sender).await;
    let second = match has_second {
        true => Some(spawn(&name, broker(&queue, &lost), &sender).await),
        false => None,
    };
    publisher.publish_all(&Context::background(), messages).await.unwrap();
    let mut ledger = Ledger::default();
    for _ in 0..5 {
        ledger.take(&mut handled, 50).await;
        soon("it heeds", say(&first)).await;
    }
    ledger.take(&mut handled, ALL - ledger.count).await;
    for consumer in [Some(first), second].into_iter().flatten() {
        consumer.stop();
        soon("it stops", consumer.settled()).await;
    }
}

fn classic(name: &str) -> Queue {
    Queue::classic(name)
}

fn quorum(name: &str) -> Queue {
    Queue::quorum(name).delivery_limit(100)
}

async fn pauses(consumer: &ConsumerHandle) {
    consumer.pause();
    consumer.settled().await;
    consumer.resume();
}

async fn stops(consumer: &ConsumerHandle) {
    consumer.stop();
    consumer.settled().await;
    consumer.start();
}

async fn restarts(consumer: &ConsumerHandle) {
    consumer.restart();
    consumer.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_paused_stopped_and_restarted_keeps_the_order_of_a_classic_queue() {
    is_in_order(classic, false, pauses).await;
    is_in_order(classic, false, stops).await;
    is_in_order(classic, false, restarts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_paused_stopped_and_restarted_keeps_the_order_of_a_quorum_queue() {
    is_in_order(quorum, false, pauses).await;
    is_in_order(quorum, false, stops).await;
    is_in_order(quorum, false, restarts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_active_consumer_hands_over_in_order() {
    for queue in [classic, quorum] {
        let queue = |name: &str| queue(name).single_active_consumer();
        is_in_order(queue, true, pauses).await;
        is_in_order(queue, true, stops).await;
    }
}
