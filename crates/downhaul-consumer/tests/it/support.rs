//! What the tests have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use downhaul_consumer::{
    Consumer, ConsumerHandle, MemoryBroker, Message, Outgoing, Publisher, State, Subscription,
};
use downhaul_context::Context;
use downhaul_testkit::capture::listen;
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::{Layer, SubscriberExt};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn subscription() -> Subscription {
    Subscription::new("q").topic("t")
}

pub(crate) async fn publish(broker: &MemoryBroker, message: Message) {
    let publisher = Publisher::new(Arc::new(broker.clone()));
    publisher.publish(&Context::background(), Outgoing::to_topic("t", message)).await.unwrap();
}

pub(crate) async fn spawn(
    consumer: Consumer,
    ctx: &Context,
    broker: &MemoryBroker,
) -> ConsumerHandle {
    let handle = consumer.spawn(ctx, Arc::new(broker.clone()));
    assert_eq!(handle.settled().await, State::Running);
    handle
}

/// Publishes messages whose ids are their numbers, from 0.
pub(crate) async fn publish_numbers(broker: &MemoryBroker, count: u32) {
    for number in 0..count {
        publish(broker, Message::new("").with_id(number.to_string())).await;
    }
}

/// Lets everybody else work until `condition` holds. A paused clock does not move meanwhile.
///
/// # Panics
///
/// If it does not in a long time.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    for _ in 0..5_000_000 {
        if condition() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it did not happen");
}

/// Counts the lines that this thread logs with each of these words in them.
pub(crate) fn count_words<const N: usize>(
    words: [&'static str; N],
) -> (DefaultGuard, [Arc<AtomicUsize>; N]) {
    let counts: [Arc<AtomicUsize>; N] = std::array::from_fn(|_| Arc::default());
    let counting = |(words, count): (&'static str, Arc<AtomicUsize>)| {
        On(words, move || _ = count.fetch_add(1, Ordering::SeqCst))
    };
    let layers: Vec<_> = words.into_iter().zip(counts.clone()).map(counting).collect();
    (listen(tracing_subscriber::registry().with(layers)), counts)
}

/// Calls `act` at each line that this thread logs with these words in it.
pub(crate) fn at_words(
    words: &'static str,
    act: impl Fn() + Send + Sync + 'static,
) -> DefaultGuard {
    listen(tracing_subscriber::registry().with(On(words, act)))
}

struct On<F>(&'static str, F);

impl<S: tracing::Subscriber, F: Fn() + Send + Sync + 'static> Layer<S> for On<F> {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        let mut words = Words(String::new());
        event.record(&mut words);
        if words.0.contains(self.0) {
            (self.1)();
        }
    }
}

struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, _: &Field, value: &dyn std::fmt::Debug) {
        self.0 += &format!("{value:?} ");
    }
}
