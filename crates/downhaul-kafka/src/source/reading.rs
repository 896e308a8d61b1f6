//! [`Reading`]: what a source reads as a member of a group.

use downhaul_consumer::{BrokerError, Subscription};
use rdkafka::ClientConfig;

use crate::options::Options;
use crate::own;

pub(super) struct Reading {
    pub(super) group: String,
    /// None of them twice, which librdkafka does not take.
    pub(super) topics: Vec<String>,
    pub(super) config: ClientConfig,
}

/// What is read for a group: its topics, and those for retries as a group of their own. At least
/// one of both.
pub(super) fn of(
    options: &Options,
    group: &str,
    named: Vec<String>,
    own_topics: &[String],
) -> Result<Vec<Reading>, BrokerError> {
    let is_retry = |topic: &String| own::step(group, topic).is_some();
    let own_topics = own_topics.iter().filter(|own| !named.contains(own)).cloned();
    let (retries, others): (Vec<_>, Vec<_>) = own_topics.partition(is_retry);
    let mut topics = [named, others].concat();
    topics.sort_unstable();
    topics.dedup();
    let config = if Subscription::is_dead_letter_queue(group) {
        options.consumer_from_first(group)?
    } else {
        options.consumer(group)?
    };
    let work = Reading { group: group.to_owned(), topics, config };
    let group = own::retry_group(group);
    let config = options.consumer_from_first(&group)?;
    let retries = Reading { group, topics: retries, config };
    Ok([work, retries].into_iter().filter(|one| !one.topics.is_empty()).collect())
}
