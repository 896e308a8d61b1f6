//! [`Crew`]: makes the consumers of a round.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{Broker, Consumer, ConsumerHandle, RetryPolicy, State, Subscription};
use downhaul_context::Context;
use tokio::time::timeout;

use super::PATIENCE;
use super::handler::{ATTEMPTS, handler};
use super::pulse::Pulse;
use super::round::{CROWD, STOCK};
use super::site::Site;
use crate::oracle::Oracle;

/// How many messages a consumer handles at a time.
pub(super) const CONCURRENCY: u16 = 8;

#[derive(Debug)]
pub(super) struct Crew {
    pub(super) oracle: Oracle,
    pub(super) brokers: [Arc<dyn Broker>; 2],
    pub(super) pulses: [Arc<Pulse>; 2],
}

impl Crew {
    pub(super) fn new(oracle: Oracle, brokers: [Arc<dyn Broker>; 2]) -> Self {
        Self { oracle, brokers, pulses: Default::default() }
    }

    /// One that has keys in order.
    pub(super) fn stock(&self, site: &impl Site, name: &str) -> ConsumerHandle {
        let consumer = self.consumer(site, name, STOCK, &self.pulses[0]);
        let broker = site.overheard(&self.oracle, name, &self.brokers[0]);
        consumer.ordered().retry(retry()).spawn(&Context::background(), broker)
    }

    /// One of those that share a queue, whose retries are parked.
    pub(super) fn one_of_crowd(&self, site: &impl Site, name: &str) -> ConsumerHandle {
        let consumer = self.consumer(site, name, CROWD, &self.pulses[1]);
        let broker = site.overheard(&self.oracle, name, &self.brokers[1]);
        let parked = retry().in_place_up_to(Duration::ZERO);
        consumer.retry(parked).spawn(&Context::background(), broker)
    }

    /// Those that find dead letters.
    pub(super) fn buries(&self, site: &impl Site) -> [ConsumerHandle; 2] {
        [0, 1].map(|index| {
            let queue = site.subscription([STOCK, CROWD][index]).dead_letter_queue();
            let letters = Consumer::new(Subscription::new(queue), self.oracle.bury());
            letters.spawn(&Context::background(), Arc::clone(&self.brokers[index]))
        })
    }

    fn consumer(&self, site: &impl Site, name: &str, queue: &str, pulse: &Arc<Pulse>) -> Consumer {
        let handler = self.oracle.observe(name, handler(Arc::clone(pulse)));
        Consumer::new(site.subscription(queue), handler).named(name).concurrency(CONCURRENCY)
    }
}

fn retry() -> RetryPolicy {
    let short = Duration::from_millis(5);
    RetryPolicy::default().attempts(ATTEMPTS).backoff(short, short)
}

/// Waits until all of them take messages.
///
/// # Errors
///
/// Why the site is to blame that one does not.
pub(super) async fn all_run(site: &impl Site, consumers: &[&ConsumerHandle]) -> Result<(), String> {
    for consumer in consumers {
        if let Err(words) = becomes(consumer, State::Running).await {
            return Err(site.blamed().await.unwrap_or_else(|| panic!("{words}")));
        }
    }
    Ok(())
}

/// Asks all of them to finish, and waits until they have.
pub(super) async fn all_stop(consumers: &[&ConsumerHandle]) {
    for consumer in consumers {
        consumer.drain();
        is_now(consumer, State::Stopped).await;
    }
}

/// Waits until a consumer is what it was asked to be, which no broker can keep it from.
pub(super) async fn is_now(consumer: &ConsumerHandle, state: State) {
    becomes(consumer, state).await.unwrap_or_else(|words| panic!("{words}"));
}

/// # Errors
///
/// What it is instead.
async fn becomes(consumer: &ConsumerHandle, state: State) -> Result<(), String> {
    let settled = timeout(PATIENCE, consumer.settled()).await;
    let (name, status) = (consumer.name(), consumer.status());
    match settled {
        Ok(settled) if settled == state => Ok(()),
        _ => Err(format!("`{name}` is not {state}, as it was asked to be: {status:?}")),
    }
}
