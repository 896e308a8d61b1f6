//! [`Round`]: consumers, publishers and an oracle, from empty queues to empty queues.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{Broker, Consumer, ConsumerHandle, Link, RetryPolicy, State, Subscription};
use downhaul_context::Context;
use fastrand::Rng;
use tokio::time::{Instant, timeout_at};

use super::fault::Fault;
use super::handler::{ATTEMPTS, handler};
use super::publishing::{OnePublisher, Publishing};
use super::pulse::Pulse;
use super::site::Site;
use super::table::Table;
use super::{PATIENCE, last, links, soon};
use crate::oracle::{LinkWatch, Oracle, Promises, Report};

/// The queue of one consumer, which has keys in order.
pub const STOCK: &str = "stock";
/// The queue of several consumers, whose retries are parked.
pub const CROWD: &str = "crowd";

const PUBLISHERS: u64 = 10;
const CROWDED: usize = 3;
const CONCURRENCY: u16 = 8;
/// What a consumer takes from the broker at a time.
const UNSETTLED: u32 = 2 * CONCURRENCY as u32;

/// Consumers that run and the log of what they do.
#[derive(Debug)]
#[non_exhaustive]
pub struct Round {
    /// Keeps the log.
    pub oracle: Oracle,
    /// The consumer of [`STOCK`].
    pub stock: ConsumerHandle,
    /// The consumers of [`CROWD`].
    pub crowd: Vec<ConsumerHandle>,
    pulses: [Arc<Pulse>; 2],
    brokers: [Arc<dyn Broker>; 2],
    _watches: Vec<LinkWatch>,
    /// Of the ids, so that what an earlier round left behind is told.
    number: u32,
}

impl Round {
    pub(super) async fn begin(site: &impl Site, number: u32) -> Self {
        let (oracle, brokers) = (oracle(number), site.brokers());
        let pulses = [Arc::new(Pulse::default()), Arc::new(Pulse::default())];
        let consumer = |name: &str, queue, pulse: &Arc<Pulse>| {
            let handler = oracle.observe(name, handler(Arc::clone(pulse)));
            Consumer::new(site.subscription(queue), handler).named(name).concurrency(CONCURRENCY)
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
        let watch = |consumer: &ConsumerHandle| site.watch(&oracle, consumer.name(), UNSETTLED);
        let watches = crowd.iter().chain([&stock]).filter_map(watch).collect();
        Self { oracle, stock, crowd, pulses, brokers, _watches: watches, number }
    }

    /// All of them.
    pub fn consumers(&self) -> impl Iterator<Item = &ConsumerHandle> {
        self.crowd.iter().chain([&self.stock])
    }

    /// What to look at when nothing moves.
    pub fn state(&self, site: &impl Site) -> String {
        let consumers = self.consumers().map(|consumer| {
            let (name, in_flight) = (consumer.name(), consumer.in_flight().len());
            let (tally, status) = (consumer.tally(), consumer.status());
            format!("{name}: {in_flight} in flight, {tally:?}, {status:?}")
        });
        consumers.chain([site.state()]).collect::<Vec<_>>().join("\n")
    }

    /// Publishes with a task a key until told to stop.
    pub(super) fn publish<S: Site>(&self, rng: &mut Rng) -> Publishing {
        let mut publishing = Publishing::new();
        for (queue, broker) in [STOCK, CROWD].into_iter().zip(&self.brokers) {
            let publisher = self.oracle.publisher(Arc::clone(broker));
            for number in 0..PUBLISHERS {
                publishing.add(OnePublisher {
                    oracle: self.oracle.clone(),
                    publisher: publisher.clone(),
                    queue,
                    name: format!("{queue}-{}-{number}", self.number),
                    rng: rng.fork(),
                    outgoing: S::outgoing,
                });
            }
        }
        publishing
    }

    /// Makes a fault, lets it last, and heals it.
    pub(super) async fn suffer(&self, site: &mut impl Site, fault: Fault) {
        if let Some(proxy) = site.proxy()
            && links::suffer(proxy, fault).await
        {
            return;
        }
        match fault {
            Fault::Pause(time) => self.pause(time).await,
            Fault::Restart(index) => self.crowd[index % self.crowd.len()].restart(),
            own => site.suffer(self, own).await,
        }
    }

    async fn pause(&self, time: Duration) {
        self.consumers().for_each(ConsumerHandle::pause);
        for consumer in self.consumers() {
            assert_eq!(soon("a consumer pauses", consumer.settled()).await, State::Paused);
        }
        last(time).await;
        self.consumers().for_each(ConsumerHandle::resume);
    }

    /// Waits until so much more of each queue is handled that it cannot all have been under way
    /// before.
    pub(super) async fn makes_progress(&self, site: &impl Site, after: &str) {
        let goals = self.pulses.each_ref().map(|pulse| (pulse, pulse.beats() + GOAL));
        let until = Instant::now() + PATIENCE;
        for (pulse, goal) in goals {
            let progress = timeout_at(until, pulse.reaches(goal)).await;
            assert!(progress.is_ok(), "no progress after {after}: {}", self.state(site));
        }
    }

    /// Ends when the queues are empty, finds the dead letters and has all judged.
    pub(super) async fn end(self, site: &impl Site, table: &mut Table) -> Report {
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
        soon("the queues are drained", site.drained(&consumers, &[STOCK, CROWD])).await;
        site.inspect(&self);
        for consumer in consumers {
            consumer.drain();
            assert_eq!(soon("a consumer stops", consumer.settled()).await, State::Stopped);
        }
        self.bury(site).await;
        let promises = Promises::default().in_flight(CONCURRENCY.into()).attempts(ATTEMPTS);
        let report = self.oracle.check(&promises.key_order().one_of_a_key());
        table.add(&report);
        report
    }

    /// Finds the dead letters.
    async fn bury(&self, site: &impl Site) {
        let ctx = Context::background();
        for (queue, broker) in [STOCK, CROWD].into_iter().zip(&self.brokers) {
            let queue = Subscription::new(queue).dead_letter_queue();
            let letters = Consumer::new(Subscription::new(queue.clone()), self.oracle.bury());
            let letters = letters.spawn(&ctx, Arc::clone(broker));
            soon("the dead letters are drained", site.drained(&[&letters], &[&queue])).await;
            letters.drain();
            soon("their consumer stops", letters.settled()).await;
        }
    }
}

/// How much of a queue must be handled after a fault.
const GOAL: u64 = 8 * UNSETTLED as u64;

/// With its log in a file where one is named.
fn oracle(round: u32) -> Oracle {
    let path = std::env::var("DOWNHAUL_FAULTS_LOG").ok();
    path.map_or_else(Oracle::new, |path| Oracle::at(format!("{path}.{round}")).unwrap())
}
