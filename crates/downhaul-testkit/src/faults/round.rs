//! [`Round`]: consumers, publishers and an oracle, from empty queues to empty queues.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{ConsumerHandle, Link, State};
use fastrand::Rng;
use tokio::time::{Instant, timeout_at};

use super::crew::{CONCURRENCY, Crew, all_run, all_stop, is_now};
use super::fault::Fault;
use super::handler::ATTEMPTS;
use super::publishing::{OnePublisher, Publishing};
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
    pub(super) crew: Crew,
    _watches: Vec<LinkWatch>,
    /// Of the ids, so that what an earlier round left behind is told.
    number: u32,
    /// How many have joined.
    joined: u32,
}

impl Round {
    /// # Errors
    ///
    /// Why the site is to blame that it does not begin.
    pub(super) async fn begin(site: &impl Site, number: u32) -> Result<Self, String> {
        let oracle = oracle(number);
        let crew = Crew::new(oracle.clone(), site.brokers());
        let stock = crew.stock(site, STOCK);
        let crowd = (0..CROWDED).map(|index| crew.one_of_crowd(site, &format!("{CROWD}-{index}")));
        let crowd: Vec<_> = crowd.collect();
        let all: Vec<_> = crowd.iter().chain([&stock]).collect();
        all_run(site, &all).await?;
        // Those that dead letters go by as well.
        let watch = |one: &&ConsumerHandle| site.watch(&oracle, one.name(), UNSETTLED);
        let watches = all.iter().filter_map(watch).collect();
        Ok(Self { oracle, stock, crowd, crew, _watches: watches, number, joined: 0 })
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
    pub(super) fn publish<S: Site>(&self, site: &S, rng: &mut Rng) -> Publishing {
        let mut publishing = Publishing::new();
        for (queue, broker) in [STOCK, CROWD].into_iter().zip(&self.crew.brokers) {
            let publisher = self.oracle.publisher(Arc::clone(broker));
            for number in 0..PUBLISHERS {
                publishing.add(OnePublisher {
                    oracle: self.oracle.clone(),
                    publisher: publisher.clone(),
                    queue: site.subscription(queue).queue().to_owned(),
                    has_keys: queue == STOCK,
                    name: format!("{queue}-{}-{number}", self.number),
                    rng: rng.fork(),
                    outgoing: S::outgoing,
                });
            }
        }
        publishing
    }

    /// Makes a fault, lets it last, and heals it.
    ///
    /// # Errors
    ///
    /// Why the site is to blame that nobody joins.
    pub(super) async fn suffer(
        &mut self,
        site: &mut impl Site,
        fault: Fault,
    ) -> Result<(), String> {
        if let Some(proxy) = site.proxy()
            && links::suffer(proxy, fault).await
        {
            return Ok(());
        }
        match fault {
            Fault::Pause(time) => self.pause(time).await,
            Fault::Restart(index) => self.one_of_crowd(index).restart(),
            Fault::Abort(index) => self.abort(index).await,
            Fault::Join(time) => self.join(site, time).await?,
            own => site.suffer(self, own).await,
        }
        Ok(())
    }

    fn one_of_crowd(&self, index: usize) -> &ConsumerHandle {
        &self.crowd[index % self.crowd.len()]
    }

    async fn abort(&self, index: usize) {
        let consumer = self.one_of_crowd(index);
        consumer.abort();
        is_now(consumer, State::Stopped).await;
        consumer.start();
    }

    async fn join(&mut self, site: &impl Site, time: Duration) -> Result<(), String> {
        self.joined += 1;
        let name = format!("{CROWD}-joined-{}", self.joined);
        let joined = self.crew.one_of_crowd(site, &name);
        all_run(site, &[&joined]).await?;
        let _watch = site.watch(&self.oracle, &name, UNSETTLED);
        last(time).await;
        all_stop(&[&joined]).await;
        Ok(())
    }

    async fn pause(&self, time: Duration) {
        self.consumers().for_each(ConsumerHandle::pause);
        for consumer in self.consumers() {
            is_now(consumer, State::Paused).await;
        }
        last(time).await;
        self.consumers().for_each(ConsumerHandle::resume);
    }

    /// Waits until so much more of each queue is handled that it cannot all have been under way
    /// before.
    ///
    /// # Errors
    ///
    /// Why the site is to blame that there is none.
    pub(super) async fn makes_progress(&self, site: &impl Site, after: &str) -> Result<(), String> {
        let goals = self.crew.pulses.each_ref().map(|pulse| (pulse, pulse.beats() + GOAL));
        let until = Instant::now() + PATIENCE;
        for (pulse, goal) in goals {
            if timeout_at(until, pulse.reaches(goal)).await.is_err() {
                let state = self.state(site);
                let blamed = site.blamed().await;
                return Err(blamed.unwrap_or_else(|| panic!("no progress after {after}: {state}")));
            }
        }
        Ok(())
    }

    /// The longest time in which a queue was not worked off, since this was last asked.
    pub(super) fn take_outage(&self) -> Duration {
        let rests = self.crew.pulses.iter().map(|pulse| pulse.take_longest_rest());
        rests.max().unwrap_or_default()
    }

    /// Ends when the queues are empty, finds the dead letters and has all judged.
    pub(super) async fn end(self, site: &impl Site, table: &mut Table) -> Report {
        for pulse in &self.crew.pulses {
            table.redelivered += pulse.redelivered();
        }
        for consumer in self.consumers() {
            let mut status = consumer.watch();
            let up = status.wait_for(|status| matches!(status.link, Link::Up));
            drop(soon("the link is up", up).await.unwrap());
        }
        match site.counts() {
            true => self.end_by_count(site).await,
            false => self.end_by_log(site).await,
        }
        let promises = Promises::default().in_flight(CONCURRENCY.into()).attempts(ATTEMPTS);
        let report = self.oracle.check(&promises.key_order().one_of_a_key());
        table.add(&report);
        report
    }

    /// Ends when the broker says that the queues are empty.
    async fn end_by_count(&self, site: &impl Site) {
        let consumers: Vec<_> = self.consumers().collect();
        soon("the queues are drained", site.drained(&consumers, &[STOCK, CROWD])).await;
        site.inspect(self).await;
        all_stop(&consumers).await;
        for (queue, letters) in [STOCK, CROWD].into_iter().zip(self.crew.buries(site)) {
            let queue = site.subscription(queue).dead_letter_queue();
            soon("the dead letters are drained", site.drained(&[&letters], &[&queue])).await;
            all_stop(&[&letters]).await;
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
