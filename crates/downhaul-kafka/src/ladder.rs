//! The topics for retries that a group has at the broker, those of steps that it once had as well.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use downhaul_consumer::{BrokerError, Subscription};
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, OwnedResourceSpecifier, ResourceSpecifier,
};
use rdkafka::client::DefaultClientContext;

use crate::admin;
use crate::blocking::blocking;
use crate::error::cannot;
use crate::options::Options;
use crate::own;

type Admin = Arc<AdminClient<DefaultClientContext>>;

/// The topics for retries of each group, once they are known: it is a deployment that changes
/// steps, and not a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ladders(Arc<Mutex<HashMap<String, Vec<String>>>>);

impl Ladders {
    fn known(&self) -> MutexGuard<'_, HashMap<String, Vec<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes sure that the topics of a subscription are there, and returns those that are its group's
/// alone. One who only looks at dead letters needs no more than these.
pub(crate) async fn ensure(
    options: &Options,
    subscription: &Subscription,
    named: &[String],
) -> Result<Vec<String>, BrokerError> {
    let group = subscription.queue();
    if !subscription.has_dead_letters() {
        let topics = vec![group.to_owned()];
        admin::ensure(options, named, &topics).await?;
        return find(options, group, topics).await;
    }
    let topics = options.own.of(group);
    let dead = options.own.to(&subscription.dead_letter_queue(), Duration::ZERO)?;
    let needed: Vec<_> = topics.iter().cloned().chain([dead]).collect();
    admin::ensure(options, named, &needed).await?;
    complete(options, group, topics).await
}

/// All topics of a group, of which these are known: also those of steps that were left out since.
/// What waits in them is nobody else's. The broker is asked once.
async fn complete(
    options: &Options,
    group: &str,
    topics: Vec<String>,
) -> Result<Vec<String>, BrokerError> {
    if let Some(topics) = options.ladders.known().get(group) {
        return Ok(topics.clone());
    }
    let topics = find(options, group, topics).await?;
    options.ladders.known().insert(group.to_owned(), topics.clone());
    Ok(topics)
}

async fn find(
    options: &Options,
    group: &str,
    mut topics: Vec<String>,
) -> Result<Vec<String>, BrokerError> {
    let admin = Arc::new(admin::client(options)?);
    let mut former = list(Arc::clone(&admin), options.connect_timeout).await?;
    former.retain(|topic| own::step(group, topic).is_some() && !topics.contains(topic));
    if !former.is_empty() {
        tracing::info!(group, topics = ?former, "topics of former steps are read on");
        topics.append(&mut former);
    }
    // Nobody has to wait for it.
    tokio::spawn(check(admin, options.connect_timeout, group.to_owned(), topics.clone()));
    Ok(topics)
}

/// All topics that there are.
async fn list(admin: Admin, within: Duration) -> Result<Vec<String>, BrokerError> {
    let listing = blocking(move || {
        let all = admin.inner().fetch_metadata(None, within)?;
        Ok(all.topics().iter().map(|topic| topic.name().to_owned()).collect())
    });
    listing.await.map_err(|error| cannot("list the topics", &error))
}

/// Warns of topics that keep messages for less time than these wait there, if the broker tells.
async fn check(admin: Admin, within: Duration, group: String, topics: Vec<String>) {
    let asked: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let within = AdminOptions::new().request_timeout(Some(within));
    let told = admin.describe_configs(&asked, &within).await;
    let told = told.inspect_err(|error| tracing::debug!(%error, "no retention is known"));
    for config in told.into_iter().flatten().flatten() {
        let OwnedResourceSpecifier::Topic(topic) = &config.specifier else { continue };
        if let (Some(step), Some(retention)) = (own::step(&group, topic), retention(&config))
            && retention < step
        {
            tracing::warn!(
                topic,
                ?retention,
                ?step,
                "messages are deleted before they are due: raise `retention.ms` of the topic"
            );
        }
    }
}

/// How long a topic keeps messages, if not for ever.
fn retention(config: &ConfigResource) -> Option<Duration> {
    let millis = config.get("retention.ms")?.value.as_ref()?;
    millis.parse().ok().map(Duration::from_millis)
}
