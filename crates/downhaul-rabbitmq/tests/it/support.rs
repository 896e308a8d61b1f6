//! What the tests have in common.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use downhaul_consumer::{
    Broker, Delivery, Event, Message, Outgoing, PublishOutcome, Sink, Source, Subscription, Verdict,
};
use downhaul_context::Context;
use downhaul_rabbitmq::RabbitMq;
use downhaul_testkit::capture::Capture;
pub(crate) use downhaul_testkit::faults::soon;
use downhaul_testkit::proxy::{Counts, Proxy};
use downhaul_testkit::rabbitmq::{Node, shared};
use downhaul_testkit::unique;
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use tracing::Level;

/// Keeps the warnings of this crate that are logged by this thread while it lives.
pub(crate) fn warnings() -> Capture {
    Capture::start(|line| {
        *line.level() == Level::WARN && line.target().starts_with("downhaul_rabbitmq")
    })
}

/// A broker on the shared node with an exchange of its own.
pub(crate) fn shared_broker() -> RabbitMq {
    broker_at(&shared())
}

pub(crate) fn broker_at(url: &str) -> RabbitMq {
    RabbitMq::new(url).unwrap().exchange(unique("exchange"))
}

/// A node of the test's own, to break. One at a time: they boot faster after each other.
pub(crate) struct OwnNode {
    pub(crate) node: Node,
    _turn: MutexGuard<'static, ()>,
}

pub(crate) fn own_node() -> OwnNode {
    own_node_with("")
}

/// The same with further lines for its `rabbitmq.conf`.
pub(crate) fn own_node_with(lines: &str) -> OwnNode {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    OwnNode { node: Node::start_with(lines).unwrap(), _turn: turn }
}

/// A proxy before the node at `url`.
pub(crate) fn proxy_before(url: &str) -> Proxy {
    let address = url.rsplit('@').next().and_then(|rest| rest.split('/').next()).unwrap();
    Proxy::start(address.parse().unwrap()).unwrap()
}

pub(crate) fn broker_through(proxy: &Proxy) -> RabbitMq {
    broker_at(&format!("amqp://guest:guest@{}/%2f", proxy.address()))
}

/// A proxy before the node at `url`, and a broker that goes through it.
pub(crate) fn behind_proxy(url: &str) -> (Proxy, RabbitMq) {
    let proxy = proxy_before(url);
    let broker = broker_through(&proxy);
    (proxy, broker)
}

/// Waits until nothing is on its way, and returns what has passed. Heartbeats are far apart.
pub(crate) async fn at_rest(proxy: &Proxy) -> Counts {
    let mut look = tokio::time::interval(Duration::from_millis(100));
    look.tick().await;
    loop {
        let before = proxy.counts();
        look.tick().await;
        if proxy.counts() == before {
            return before;
        }
    }
}

/// A queue of its own, bound to a topic of the same name.
pub(crate) fn subscription(prefix: &str) -> Subscription {
    let name = unique(prefix);
    Subscription::new(name.clone()).topic(name)
}

pub(crate) async fn source(broker: &dyn Broker, subscription: &Subscription) -> Box<dyn Source> {
    let ctx = Context::background();
    soon("a source opens", broker.source(&ctx, subscription)).await.unwrap()
}

pub(crate) async fn sink(broker: &dyn Broker) -> Arc<dyn Sink> {
    soon("a sink opens", broker.sink(&Context::background())).await.unwrap()
}

/// Publishes and waits for the answer.
pub(crate) async fn publish(sink: &dyn Sink, outgoing: &Outgoing) -> PublishOutcome {
    soon("a publish", async { sink.send(outgoing).await.unwrap().await }).await
}

/// Publishes texts into a queue; all are confirmed.
pub(crate) async fn fill(sink: &dyn Sink, queue: &str, texts: impl IntoIterator<Item = String>) {
    for text in texts {
        let outcome = publish(sink, &Outgoing::to_queue(queue, Message::new(text))).await;
        assert!(matches!(outcome, PublishOutcome::Confirmed), "{outcome:?}");
    }
}

/// Waits for the next deliveries.
pub(crate) async fn more(source: &mut dyn Source, deliveries: &mut Vec<Delivery>) {
    let mut events = Vec::new();
    soon("a delivery", source.next(&mut events)).await.unwrap();
    deliveries.extend(events.into_iter().filter_map(Event::into_delivery));
}

/// Waits for exactly so many deliveries.
pub(crate) async fn take(source: &mut dyn Source, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    while deliveries.len() < count {
        more(source, &mut deliveries).await;
    }
    assert_eq!(deliveries.len(), count, "not one too many");
    deliveries
}

pub(crate) fn texts(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| text(&delivery.message)).collect()
}

pub(crate) fn text(message: &Message) -> String {
    String::from_utf8(message.payload().to_vec()).unwrap()
}

/// The headers of a message, sorted. All are texts.
pub(crate) fn sorted_headers(message: &Message) -> Vec<(&str, &str)> {
    let headers = message.headers().iter();
    let mut headers: Vec<_> =
        headers.map(|(name, value)| (name, value.as_text().unwrap())).collect();
    headers.sort_unstable();
    headers
}

pub(crate) fn all(
    deliveries: &[Delivery],
    verdict: Verdict,
) -> Vec<(downhaul_consumer::Token, Verdict)> {
    deliveries.iter().map(|delivery| (delivery.token, verdict)).collect()
}

/// Another client of the same broker, which knows nothing of Downhaul.
pub(crate) struct Foreigner {
    _connection: Connection,
    pub(crate) channel: Channel,
}

impl Foreigner {
    pub(crate) async fn at(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        Self { _connection: connection, channel }
    }

    /// How many messages wait in a queue, and how many consumers it has.
    pub(crate) async fn look(&self, queue: &str) -> (u32, u32) {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = self.channel.queue_declare(queue.into(), options, FieldTable::default());
        let queue = queue.await.unwrap();
        (queue.message_count(), queue.consumer_count())
    }

    /// Throws away what waits in a queue.
    pub(crate) async fn purge(&self, queue: &str) {
        self.channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await.unwrap();
    }

    pub(crate) async fn delete(&self, queue: &str) {
        self.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
    }
}
