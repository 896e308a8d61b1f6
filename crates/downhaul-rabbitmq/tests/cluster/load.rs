//! [`Load`]: publishers and consumers that go on whatever happens, and what the oracle hears.

use std::time::Duration;

use downhaul_consumer::{
    Consumer, ConsumerHandle, Failure, Incoming, Message, Outgoing, Publisher, RetryPolicy,
    Snapshot, State, Subscription,
};
use downhaul_context::Context;
use downhaul_testkit::oracle::{Cause, LinkWatch, Oracle, Promises, Report};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::world::{PATIENCE, World, soon};

pub(crate) const QUEUE: &str = "orders";
const PUBLISHERS: usize = 6;
const CONSUMERS: usize = 2;
const CONCURRENCY: u16 = 8;
const ATTEMPTS: u32 = 3;
/// What a consumer takes from the broker at a time.
const UNSETTLED: u32 = 2 * CONCURRENCY as u32;
/// More than can have been under way before.
const MORE: u64 = 200;
/// How many settlements a node that goes may not have passed on.
const UNWRITTEN: u32 = 512;
/// As long as what was just parked is nobody's.
const QUIET: Duration = Duration::from_secs(2);

pub(crate) struct Load {
    oracle: Oracle,
    consumers: Vec<ConsumerHandle>,
    publishing: JoinSet<()>,
    stop: watch::Sender<bool>,
    _watches: Vec<LinkWatch>,
}

/// Some messages are tried again, and some are dead letters. None waits in a queue of its delay:
/// the way out of it may stand still in RabbitMQ 3.10 after a node was cut off.
async fn handle(_ctx: Context, message: Incoming<Message>) -> Result<(), Failure> {
    // tidy: work that faults find under way
    sleep(Duration::from_millis(5)).await;
    let number: u64 = message.id().rsplit('/').next().unwrap_or_default().parse()?;
    match number % 20 {
        1 if message.attempt() < ATTEMPTS => Err(std::io::Error::other("not yet"))?,
        2 => Err(Failure::permanent("never")),
        _ => Ok(()),
    }
}

impl Load {
    pub(crate) async fn begin(world: &World) -> Self {
        let (oracle, ctx) = (Oracle::new(), Context::background());
        let short = Duration::from_millis(5);
        let retry = RetryPolicy::default().attempts(ATTEMPTS).backoff(short, short);
        let consumers: Vec<_> = (0..CONSUMERS)
            .map(|number| {
                let name = format!("{QUEUE}-{number}");
                let handler = oracle.observe(&name, handle);
                let consumer = Consumer::new(Subscription::new(QUEUE), handler).named(name);
                let consumer = consumer.concurrency(CONCURRENCY).retry(retry.clone());
                consumer.spawn(&ctx, world.broker())
            })
            .collect();
        for consumer in &consumers {
            assert_eq!(soon("a consumer runs", consumer.settled()).await, State::Running);
        }
        let watch = |consumer: &ConsumerHandle| {
            let watch = |proxy| oracle.watch_links(consumer.name(), proxy, UNSETTLED);
            world.proxies.iter().map(watch).collect::<Vec<_>>()
        };
        let watches = consumers.iter().flat_map(watch).collect();
        let (stop, mut publishing) = (watch::Sender::new(false), JoinSet::new());
        let publisher = oracle.publisher(world.broker());
        for number in 0..PUBLISHERS {
            let stopped = stop.subscribe();
            publishing.spawn(publish(oracle.clone(), publisher.clone(), number, stopped));
        }
        Self { oracle, consumers, publishing, stop, _watches: watches }
    }

    /// A node is about to go, and with it what it has not passed on to the others.
    pub(crate) fn expect_repeats(&self) {
        for consumer in &self.consumers {
            let instance = consumer.name().to_owned();
            self.oracle.log(Cause::LinkLost { instance, unsettled: UNWRITTEN });
        }
    }

    /// Waits for more to be handled than can have been under way, for no longer than `within`.
    pub(crate) async fn goes_on(&self, within: Duration, after: &str) {
        let (begun, wanted) = (Instant::now(), self.oracle.done() + MORE);
        let more = timeout(within, self.oracle.until_done(wanted)).await;
        assert!(more.is_ok(), "nothing goes on after {after}: {:#?}", self.state());
        println!("{MORE} more within {:.1?} after {after}", begun.elapsed());
    }

    fn state(&self) -> Vec<Snapshot> {
        self.consumers.iter().map(ConsumerHandle::snapshot).collect()
    }

    /// Lets everything come to its end and has it judged.
    pub(crate) async fn end(mut self, world: &World) -> Report {
        self.stop.send_replace(true);
        while let Some(published) = soon("publishers stop", self.publishing.join_next()).await {
            published.unwrap();
        }
        let begun = Instant::now();
        let is_drained = timeout(PATIENCE, drained(world, &self.consumers, QUEUE)).await;
        assert!(is_drained.is_ok(), "{} are left: {:#?}", world.ready(QUEUE), self.state());
        println!("drained within {:.1?}", begun.elapsed());
        stop(&self.consumers).await;
        let queue = Subscription::new(QUEUE).dead_letter_queue();
        let letters = Consumer::new(Subscription::new(queue.clone()), self.oracle.bury());
        let letters = [letters.spawn(&Context::background(), world.broker())];
        soon("the dead letters are drained", drained(world, &letters, &queue)).await;
        stop(&letters).await;
        let promises = Promises::default().in_flight(CONCURRENCY.into()).attempts(ATTEMPTS);
        self.oracle.check(&promises)
    }
}

async fn stop(consumers: &[ConsumerHandle]) {
    for consumer in consumers {
        consumer.drain();
        assert_eq!(soon("a consumer stops", consumer.settled()).await, State::Stopped);
    }
}

/// Waits until a queue is empty and its consumers have nothing in hand, and stay so.
async fn drained(world: &World, consumers: &[ConsumerHandle], queue: &str) {
    loop {
        let idle = consumers.iter().map(|consumer| consumer.idle_for(QUIET));
        futures_util::future::join_all(idle).await;
        if world.ready(queue) == 0 && consumers.iter().all(|one| one.in_flight().is_empty()) {
            return;
        }
    }
}

/// Publishes each message until it is confirmed.
async fn publish(
    oracle: Oracle,
    publisher: Publisher,
    publisher_number: usize,
    stopped: watch::Receiver<bool>,
) {
    let ctx = Context::background();
    for number in 0_u64.. {
        if *stopped.borrow() {
            return;
        }
        let message = Message::new("an order").with_id(format!("{publisher_number}/{number}"));
        let outgoing = Outgoing::to_queue(QUEUE, message);
        while oracle.publish_until_known(&publisher, &ctx, outgoing.clone()).await.is_err() {
            // tidy: a new leader takes its time, and meanwhile the queue refuses
            sleep(Duration::from_millis(100)).await;
        }
        // tidy: a pace that three nodes on one machine can keep
        sleep(Duration::from_millis(20)).await;
    }
}
