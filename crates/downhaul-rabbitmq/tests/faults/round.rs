//! [`Round`]: consumers, publishers and an oracle, from empty queues to empty queues.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{
    Broker, Consumer, ConsumerHandle, Link, Message, Outgoing, Publisher, RetryPolicy, State,
    Subscription,
};
use downhaul_context::Context;
use downhaul_testkit::oracle::{LinkWatch, Oracle, Promises, Report};
use fastrand::Rng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::handler::{ATTEMPTS, handler};
use crate::pulse::Pulse;
use crate::table::Table;
use crate::world::{PATIENCE, World, soon};

/// Of one consumer, which has keys in order.
pub(crate) const STOCK: &str = "stock";
/// Of several consumers, whose retries are parked, and a quorum queue: a classic one may lose what
/// comes out of a delay in the moment in which the node is killed.
pub(crate) const CROWD: &str = "crowd";

const PUBLISHERS: u64 = 10;
const CROWDED: usize = 3;
const CONCURRENCY: u16 = 8;
/// What a consumer takes from the broker at a time.
const UNSETTLED: u32 = 2 * CONCURRENCY as u32;

pub(crate) struct Round {
    pub(crate) oracle: Oracle,
    pub(crate) stock: ConsumerHandle,
    pub(crate) crowd: Vec<ConsumerHandle>,
    pulses: [Arc<Pulse>; 2],
    brokers: [Arc<dyn Broker>; 2],
    _watches: Vec<LinkWatch>,
    /// Of the ids, so that what an earlier round left behind is told.
    number: u32,
}

/// Publishers that go on until they are stopped.
pub(crate) struct Publishing {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Publishing {
    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        while let Some(published) = soon("the publishers stop", self.tasks.join_next()).await {
            published.unwrap();
        }
    }
}

impl Round {
    pub(crate) async fn begin(world: &mut World) -> Self {
        let number = world.next_round();
        let (oracle, brokers) = (oracle(number), world.brokers());
        let pulses = [Arc::new(Pulse::default()), Arc::new(Pulse::default())];
        let consumer = |name: &str, queue, pulse: &Arc<Pulse>| {
            let handler = oracle.observe(name, handler(Arc::clone(pulse)));
            Consumer::new(Subscription::new(queue), handler).named(name).concurrency(CONCURRENCY)
        };
        let short = Duration::from_millis(5);
        let retry = RetryPolicy::default().attempts(ATTEMPTS).backoff(short, short);
        let ctx = Context::background();
        let stock = consumer(STOCK, STOCK, &pulses[0]).ordered().retry(retry.clone());
        let stock = stock.spawn(&ctx, Arc::clone(&brokers[0]));
        let parked = retry.in_place_up_to(Duration::ZERO);
        let crowd = (0..CROWDED).map(|index| {
            let one = consumer(&format!("{CROWD}-{index}"), CROWD, &pulses[1]);
            one.retry(parked.clone()).spawn(&ctx, Arc::clone(&brokers[1]))
        });
        let crowd: Vec<_> = crowd.collect();
        for consumer in crowd.iter().chain([&stock]) {
            assert_eq!(soon("a consumer runs", consumer.settled()).await, State::Running);
        }
        // Those that dead letters go by as well.
        let watch = |consumer: &ConsumerHandle| world.watch(&oracle, consumer.name(), UNSETTLED);
        let watches = crowd.iter().chain([&stock]).map(watch).collect();
        Self { oracle, stock, crowd, pulses, brokers, _watches: watches, number }
    }

    pub(crate) fn consumers(&self) -> impl Iterator<Item = &ConsumerHandle> {
        self.crowd.iter().chain([&self.stock])
    }

    /// Publishes with a task a key, each message when the one before is known, until told to stop.
    pub(crate) fn publish(&self, rng: &mut Rng) -> Publishing {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for (queue, broker) in [STOCK, CROWD].into_iter().zip(&self.brokers) {
            let publisher = self.oracle.publisher(Arc::clone(broker));
            for number in 0..PUBLISHERS {
                let name = format!("{queue}-{}-{number}", self.number);
                let (publisher, stopped) = (publisher.clone(), stopped.clone());
                tasks.spawn(publish(
                    self.oracle.clone(),
                    publisher,
                    queue,
                    name,
                    rng.fork(),
                    stopped,
                ));
            }
        }
        Publishing { stop, tasks }
    }

    /// Waits until so much more of each queue is handled that it cannot all have been under way
    /// before.
    pub(crate) async fn makes_progress(&self, world: &World, after: &str) {
        let all = self.pulses.iter().map(|pulse| pulse.more(8 * u64::from(UNSETTLED)));
        let all = futures_util::future::join_all(all);
        let progress = tokio::time::timeout(PATIENCE, all).await;
        assert!(progress.is_ok(), "no progress after {after}: {}", self.state(world));
    }

    /// What to look at when nothing moves.
    pub(crate) fn state(&self, world: &World) -> String {
        let consumers = self.consumers().map(|consumer| {
            let (name, in_flight) = (consumer.name(), consumer.in_flight().len());
            format!(
                "{name}: {in_flight} in flight, {:?}, {:?}",
                consumer.tally(),
                consumer.status()
            )
        });
        consumers.chain([world.state()]).collect::<Vec<_>>().join("\n")
    }

    /// Ends when the queues are empty, finds the dead letters and has all judged.
    pub(crate) async fn end(self, world: &World, table: &mut Table) -> Report {
        for pulse in &self.pulses {
            table.outage(pulse.longest_rest());
            table.redelivered += pulse.redelivered();
        }
        for consumer in self.consumers() {
            let mut status = consumer.watch();
            let up = status.wait_for(|status| matches!(status.link, Link::Up));
            drop(soon("the link is up", up).await.unwrap());
        }
        let consumers: Vec<_> = self.consumers().collect();
        soon("the queues are drained", world.drained(&consumers, &[STOCK, CROWD])).await;
        world.has_consumers(&self);
        for consumer in consumers {
            consumer.drain();
            assert_eq!(soon("a consumer stops", consumer.settled()).await, State::Stopped);
        }
        self.bury(world).await;
        let promises = Promises::default().in_flight(CONCURRENCY.into()).attempts(ATTEMPTS);
        let report = self.oracle.check(&promises.key_order().one_of_a_key());
        table.add(&report);
        report
    }

    /// Finds the dead letters.
    async fn bury(&self, world: &World) {
        let ctx = Context::background();
        for (queue, broker) in [STOCK, CROWD].into_iter().zip(&self.brokers) {
            let queue = Subscription::new(queue).dead_letter_queue();
            let letters = Consumer::new(Subscription::new(queue.clone()), self.oracle.bury());
            let letters = letters.spawn(&ctx, Arc::clone(broker));
            soon("the dead letters are drained", world.drained(&[&letters], &[&queue])).await;
            letters.drain();
            soon("their consumer stops", letters.settled()).await;
        }
    }
}

/// The messages of the crowd have no key: they are in no order.
async fn publish(
    oracle: Oracle,
    publisher: Publisher,
    queue: &'static str,
    name: String,
    mut rng: Rng,
    stopped: watch::Receiver<bool>,
) {
    let ctx = Context::background();
    for number in 0_u64.. {
        if *stopped.borrow() {
            return;
        }
        let message = match queue {
            STOCK => oracle.message(&name, body(&mut rng)),
            _ => Message::new(body(&mut rng)).with_id(format!("{name}/{number}")),
        };
        let outgoing = Outgoing::to_queue(queue, message);
        oracle.publish_until_known(&publisher, &ctx, outgoing).await.unwrap();
        // tidy: a pace that the consumers can keep, for as long as the faults take
        sleep(Duration::from_millis(rng.u64(15..45))).await;
    }
}

/// With its log in a file where one is named.
fn oracle(round: u32) -> Oracle {
    let path = std::env::var("DOWNHAUL_FAULTS_LOG").ok();
    path.map_or_else(Oracle::new, |path| Oracle::at(format!("{path}.{round}")).unwrap())
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
