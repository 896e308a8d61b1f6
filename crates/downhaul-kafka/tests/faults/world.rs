//! What a run is made of: a private broker behind a proxy, a consumer, publishers and an oracle.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use downhaul_consumer::{
    Broker as _, Consumer, ConsumerHandle, Failure, Incoming, Message, Outgoing, RetryPolicy,
    Settlement, State, Subscription,
};
use downhaul_context::Context;
use downhaul_kafka::{Kafka, NewTopics};
use downhaul_testkit::kafka::{Broker, Setup, shared_kind};
use downhaul_testkit::oracle::{LinkWatch, Oracle};
use downhaul_testkit::proxy::{Cut, Proxy};
use fastrand::Rng;
use tokio::sync::watch;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::sleep;

use crate::plan::Fault;

const QUEUE: &str = "stock";
/// The name of the handler in the log.
const HANDLER: &str = "stock";
const PUBLISHERS: u64 = 8;
pub(crate) const CONCURRENCY: u16 = 8;
pub(crate) const ATTEMPTS: u32 = 3;
/// What may be finished and not committed, or begun, when a link is lost.
const UNSETTLED: u32 = 256;

const PATIENCE: Duration = Duration::from_secs(60);

/// Bounds everything that ought to happen: a test fails, it does not hang.
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.unwrap_or_else(|_| panic!("{what}: it did not happen"))
}

pub(crate) struct World {
    broker: Broker,
    proxy: Proxy,
    pub(crate) oracle: Oracle,
    kafka: Arc<Kafka>,
    consumer: ConsumerHandle,
    _watch: LinkWatch,
    ctx: Context,
}

impl World {
    pub(crate) async fn new() -> Self {
        let proxy = Mutex::new(None);
        let broker = block_in_place(|| {
            Setup::new(shared_kind().unwrap()).start_behind(|port| {
                let started = Proxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
                let address = started.address();
                *proxy.lock().unwrap() = Some(started);
                address.port()
            })
        });
        let (broker, proxy) = (broker.unwrap(), proxy.into_inner().unwrap().unwrap());
        let kafka = Kafka::new(&broker.bootstrap())
            .unwrap()
            .create_topics(NewTopics::partitions(4))
            .retry_steps(&[Duration::from_millis(100)])
            .commit_every(Duration::from_millis(100), 100)
            .consumer_property("session.timeout.ms", "3000")
            .consumer_property("heartbeat.interval.ms", "300")
            .property("reconnect.backoff.max.ms", "500");
        let kafka = Arc::new(kafka);
        let (ctx, oracle) = (Context::background(), Oracle::new());
        let short = Duration::from_millis(5);
        let subscription = Subscription::new(QUEUE).topic(QUEUE);
        let consumer = Consumer::new(subscription, oracle.observe(HANDLER, handle))
            .concurrency(CONCURRENCY)
            .retry(RetryPolicy::default().attempts(ATTEMPTS).backoff(short, short))
            .spawn(&ctx, Arc::clone(&kafka) as _);
        assert_eq!(soon("the consumer runs", consumer.settled()).await, State::Running);
        let watch = oracle.watch_links(HANDLER, &proxy, UNSETTLED);
        Self { broker, proxy, oracle, kafka, consumer, _watch: watch, ctx }
    }

    /// Publishes with a task a key, each message when the one before is known, until told to stop.
    pub(crate) fn publish(&self, rng: &mut Rng, stop: &watch::Receiver<bool>) -> JoinSet<()> {
        let publisher = self.oracle.publisher(Arc::clone(&self.kafka) as _);
        let mut publishing = JoinSet::new();
        for number in 0..PUBLISHERS {
            let (oracle, publisher, ctx) =
                (self.oracle.clone(), publisher.clone(), self.ctx.clone());
            let (stop, mut rng) = (stop.clone(), rng.fork());
            publishing.spawn(async move {
                let key = format!("key-{number}");
                while !*stop.borrow() {
                    let message = oracle.message(&key, "x".repeat(rng.usize(..2_000)));
                    let outgoing = Outgoing::to_topic(QUEUE, message);
                    oracle.publish_until_known(&publisher, &ctx, outgoing).await.unwrap();
                    // tidy: a pace that the consumer can keep, for as long as the faults take
                    sleep(Duration::from_millis(rng.u64(10..40))).await;
                }
            });
        }
        publishing
    }

    /// Makes a fault, lets it last, and heals it.
    pub(crate) async fn suffer(&mut self, fault: Fault) {
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
            Fault::Refuse(time) => {
                proxy.refuse();
                proxy.cut(Cut::Reset);
                last(time).await;
            }
            Fault::Freeze(time) => {
                self.broker.pause();
                last(time).await;
                self.broker.resume();
            }
            Fault::Kill(time) => {
                self.broker.kill();
                last(time).await;
                let broker = &mut self.broker;
                block_in_place(|| broker.restart()).unwrap();
            }
        }
        self.proxy.heal();
    }

    /// Waits until so much more is done that it cannot all have been under way before.
    pub(crate) async fn makes_progress(&self, after: &str) {
        let wanted = self.oracle.done() + 64;
        let progress = tokio::time::timeout(PATIENCE, self.oracle.until_done(wanted)).await;
        let state = || format!("{:?}, {:?}", self.consumer.tally(), self.consumer.status());
        assert!(progress.is_ok(), "no progress after {after}: {}", state());
    }

    /// Waits until all is read and ends the consumer, then finds the dead letters.
    pub(crate) async fn drain(&self) {
        soon("all is read", self.consumer.idle_for(Duration::from_secs(5))).await;
        self.consumer.drain();
        assert_eq!(soon("the consumer stops", self.consumer.settled()).await, State::Stopped);
        let queue = Subscription::new(QUEUE).dead_letter_queue();
        let letters = Consumer::new(Subscription::new(queue), self.oracle.bury());
        let letters = letters.spawn(&self.ctx, Arc::clone(&self.kafka) as _);
        soon("their consumer runs", letters.settled()).await;
        soon("the dead letters are read", letters.idle_for(Duration::from_secs(5))).await;
        letters.drain();
        soon("their consumer stops", letters.settled()).await;
        soon("closing", self.kafka.close(&self.ctx)).await;
    }
}

/// While a fault lasts.
async fn last(time: Duration) {
    // tidy: sessions are on the broker's clock, so a fault that outlasts them is as well
    sleep(time).await;
}

/// Takes a while and then does to a message what its number says.
async fn handle(_ctx: Context, message: Incoming<Message>) -> Result<Settlement, Failure> {
    let number: u64 = message.id().rsplit('/').next().unwrap_or_default().parse()?;
    // tidy: work that faults find under way
    sleep(Duration::from_millis(2 + number % 5)).await;
    match number % 20 {
        1 if message.attempt() < ATTEMPTS => Err(std::io::Error::other("not yet"))?,
        2 => Err(Failure::permanent("never")),
        3 => Ok(Settlement::DeadLetter { reason: "unwanted".to_owned() }),
        4 => Ok(Settlement::Drop { reason: "worthless".to_owned() }),
        5 if message.redeliveries() == 0 => Ok(Settlement::Release),
        _ => Ok(Settlement::Ack),
    }
}
