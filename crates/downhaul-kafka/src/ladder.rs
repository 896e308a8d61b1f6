//! The topics for retries that a group has at the broker, those of steps that it once had as well.

use std::time::Duration;

use downhaul_consumer::BrokerError;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;

use crate::admin;
use crate::blocking::blocking;
use crate::error::cannot;
use crate::options::Options;
use crate::own;

type Admin = AdminClient<DefaultClientContext>;

/// All topics of a group, of which these are known: also those of steps that were left out since.
/// What waits in them is nobody else's.
pub(crate) async fn complete(
    options: &Options,
    group: &str,
    mut topics: Vec<String>,
) -> Result<Vec<String>, BrokerError> {
    let mut former = list(admin::client(options)?, options.connect_timeout).await?;
    former.retain(|topic| own::step(group, topic).is_some() && !topics.contains(topic));
    if !former.is_empty() {
        tracing::info!(group, topics = ?former, "topics of former steps are read on");
        topics.append(&mut former);
    }
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
