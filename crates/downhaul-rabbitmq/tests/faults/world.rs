//! What a run is made of: a private node behind a proxy, a consumer, publishers and an oracle.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Broker, Consumer, ConsumerHandle, Failure, Incoming, Link, Message, Outgoing, RetryPolicy,
    Settlement, State, Subscription,
};
use downhaul_context::Context;
use downhaul_rabbitmq::RabbitMq;
use downhaul_testkit::oracle::{LinkWatch, Oracle};
use downhaul_testkit::proxy::{Cut, Proxy};
use downhaul_testkit::rabbitmq::Node;
use fastrand::Rng;
use tokio::sync::watch;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::sleep;

use crate::plan::Fault;

const QUEUE: &str = "stock";
/// The name of the handler in the log.
const HANDLER: &str = "stock";
const PUBLISHERS: u64 = 16;
pub(crate) const CONCURRENCY: u16 = 8;
pub(crate) const ATTEMPTS: u32 = 3;
/// What the consumer takes from the broker at a time.
const UNSETTLED: u32 = 2 * CONCURRENCY as u32;

const PATIENCE: Duration = Duration::from_secs(30);

/// Bounds everything that ought to happen: a test fails, it does not hang.
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.unwrap_or_else(|_| panic!("{what}: it did not happen"))
}

pub(crate) struct World {
    node: Node,
    proxy: Proxy,
    pub(crate) oracle: Oracle,
    broker: Arc<RabbitMq>,
    consumer: ConsumerHandle,
    _watch: LinkWatch,
    ctx: Context,
}

impl World {
    pub(crate) async fn new() -> Self {
        // Starting a node blocks for seconds.
        let node = block_in_place(Node::start).unwrap();
        let proxy = Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, node.port()))).unwrap();
        let url = format!("amqp://guest:guest@{}/%2f", proxy.address());
        let second = Duration::from_secs(1);
        let broker = RabbitMq::new(&url).unwrap().heartbeat(second).connect_timeout(second);
        let broker = Arc::new(broker);
        let (ctx, oracle) = (Context::background(), oracle());
        let short = Duration::from_millis(5);
        let consumer = Consumer::new(Subscription::new(QUEUE), oracle.observe(HANDLER, handle))
            .concurrency(CONCURRENCY)
            .ordered()
            .retry(RetryPolicy::default().attempts(ATTEMPTS).backoff(short, short))
            .spawn(&ctx, Arc::clone(&broker) as _);
        assert_eq!(soon("the consumer runs", consumer.settled()).await, State::Running);
        // Those that dead letters go by as well.
        let watch = oracle.watch_links(HANDLER, &proxy, UNSETTLED);
        Self { node, proxy, oracle, broker, consumer, _watch: watch, ctx }
    }

    /// Publishes with a task a key, each message when the one before is known, until told to stop.
    pub(crate) fn publish(&self, rng: &mut Rng, stop: &watch::Receiver<bool>) -> JoinSet<()> {
        let publisher = self.oracle.publisher(Arc::clone(&self.broker) as _);
        let mut publishing = JoinSet::new();
        for number in 0..PUBLISHERS {
            let (oracle, publisher, ctx) =
                (self.oracle.clone(), publisher.clone(), self.ctx.clone());
            let (stop, mut rng) = (stop.clone(), rng.fork());
            publishing.spawn(async move {
                let key = format!("key-{number}");
                while !*stop.borrow() {
                    let message = oracle.message(&key, body(&mut rng));
                    let outgoing = Outgoing::to_queue(QUEUE, message);
                    oracle.publish_until_known(&publisher, &ctx, outgoing).await.unwrap();
                    // tidy: a pace that the consumer can keep, for as long as the faults take
                    sleep(Duration::from_millis(rng.u64(15..45))).await;
                }
            });
        }
        publishing
    }

    /// Makes a fault, lets it last, and heals it.
    pub(crate) async fn suffer(&self, fault: Fault) {
        let proxy = &self.proxy;
        match fault {
            Fault::Cut(how) => proxy.cut(how),
            Fault::HalfFrame(direction, bytes) => {
                let before = proxy.counts().cut;
                proxy.half_frame(direction, bytes);
                soon("half a frame", proxy.until(|counts| counts.cut > before)).await;
            }
            Fault::Blackhole(direction, time) => {
                proxy.blackhole(direction);
                last(time).await;
            }
            Fault::Delay(direction, delay, time) => {
                proxy.delay(direction, delay);
                last(time).await;
            }
            Fault::Throttle(direction, rate, time) => {
                proxy.throttle(direction, rate);
                last(time).await;
            }
            Fault::Refuse(time) => {
                proxy.refuse();
                proxy.cut(Cut::Reset);
                last(time).await;
            }
            Fault::Close => {
                block_in_place(|| self.node.ctl(&["close_all_connections", "a test"])).unwrap();
            }
        }
        proxy.heal();
    }

    /// Waits until so much more is done that it cannot all have been under way before.
    pub(crate) async fn makes_progress(&self, after: &str) {
        let wanted = self.oracle.done() + 8 * u64::from(UNSETTLED);
        let progress = tokio::time::timeout(PATIENCE, self.oracle.until_done(wanted)).await;
        assert!(progress.is_ok(), "no progress after {after}: {}", self.state());
    }

    /// What to look at when nothing moves.
    fn state(&self) -> String {
        let list = |what: &[&str]| block_in_place(|| self.node.ctl(what)).unwrap_or_default();
        let queues = ["list_queues", "name", "messages_ready", "messages_unacknowledged"];
        let connections = ["list_connections", "name", "state", "channels"];
        [
            format!("{} done, {} in flight", self.oracle.done(), self.consumer.in_flight().len()),
            format!("{:?}, {:?}", self.consumer.tally(), self.consumer.status()),
            format!("{:?}", self.proxy.counts()),
            list(&queues),
            list(&connections),
        ]
        .join("\n")
    }

    /// Waits until the queue is empty and ends the consumer, then finds the dead letters.
    pub(crate) async fn drain(&self) {
        let mut status = self.consumer.watch();
        let up = status.wait_for(|status| matches!(status.link, Link::Up));
        drop(soon("the link is up", up).await.unwrap());
        soon("the queue is drained", self.is_empty(QUEUE, 1)).await;
        self.consumer.drain();
        assert_eq!(soon("the consumer stops", self.consumer.settled()).await, State::Stopped);

        let queue = Subscription::new(QUEUE).dead_letter_queue();
        let letters = Consumer::new(Subscription::new(queue.clone()), self.oracle.bury());
        let straight = Arc::new(RabbitMq::new(&self.node.url()).unwrap());
        let letters = letters.spawn(&self.ctx, Arc::clone(&straight) as _);
        soon("the dead letters are drained", self.is_empty(&queue, 1)).await;
        letters.drain();
        soon("their consumer stops", letters.settled()).await;
        soon("closing", straight.close(&self.ctx)).await;
        soon("closing", self.broker.close(&self.ctx)).await;
    }

    /// Waits until a queue has no messages, neither ready nor unsettled, and so many consumers.
    async fn is_empty(&self, queue: &str, consumers: u32) {
        let wanted = format!("{queue}\t0\t{consumers}");
        loop {
            let list = ["list_queues", "name", "messages", "consumers"];
            let list = block_in_place(|| self.node.ctl(&list)).unwrap();
            if list.lines().any(|line| line == wanted) {
                return;
            }
            // So that whoever bounds this gets a turn: asking takes half a second.
            tokio::task::yield_now().await;
        }
    }
}

/// With its log in a file where one is named.
fn oracle() -> Oracle {
    let path = std::env::var_os("DOWNHAUL_FAULTS_LOG");
    path.map_or_else(Oracle::new, |path| Oracle::at(path).unwrap())
}

/// While a fault lasts.
async fn last(time: Duration) {
    // tidy: heartbeats are on the system's clock, so a fault that outlasts them is as well
    sleep(time).await;
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

/// Takes a while and then does to a message what its number says.
async fn handle(_ctx: Context, message: Incoming<Message>) -> Result<Settlement, Failure> {
    let number: u64 = message.id().rsplit('/').next().unwrap_or_default().parse()?;
    // tidy: work that faults find under way
    sleep(Duration::from_millis(5 + number % 7)).await;
    match number % 20 {
        1 if message.attempt() < ATTEMPTS => Err(std::io::Error::other("not yet"))?,
        2 => Err(Failure::permanent("never")),
        3 => Ok(Settlement::DeadLetter { reason: "unwanted".to_owned() }),
        4 => Ok(Settlement::Drop { reason: "worthless".to_owned() }),
        5 if message.redeliveries() == 0 => Ok(Settlement::Release),
        _ => Ok(Settlement::Ack),
    }
}
