//! [`Places`]: the topics that messages go to, and whether they are there.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use downhaul_consumer::{BrokerError, Destination, Outgoing, PublishOutcome, Receipt};

use crate::admin;
use crate::options::Options;

#[derive(Debug)]
pub(crate) struct Places {
    options: Options,
    /// Topics that are known to be there.
    known: RwLock<HashSet<String>>,
}

impl Places {
    pub(crate) fn new(options: &Options) -> Self {
        Self { options: options.clone(), known: RwLock::default() }
    }

    /// The topic that a message goes to.
    ///
    /// # Errors
    ///
    /// There is none for so long a delay.
    pub(crate) fn topic(&self, outgoing: &Outgoing) -> Result<String, BrokerError> {
        match &outgoing.destination {
            Destination::Topic(topic) => Ok(topic.to_string()),
            Destination::Queue(group) => self.options.own.to(group, outgoing.delay),
        }
    }

    /// The answer for a message to a topic that is not there.
    pub(crate) async fn returned(&self, topic: &str) -> Result<Option<Receipt>, BrokerError> {
        if self.has(topic).await? {
            return Ok(None);
        }
        let words = format!("there is no topic `{topic}` at {}", self.options.address);
        Ok(Some(Receipt::resolved(PublishOutcome::Returned(words))))
    }

    async fn has(&self, topic: &str) -> Result<bool, BrokerError> {
        if self.known.read().unwrap_or_else(PoisonError::into_inner).contains(topic) {
            return Ok(true);
        }
        if !admin::missing(&self.options, &[topic.to_owned()]).await?.is_empty() {
            return Ok(false);
        }
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(topic.to_owned());
        Ok(true)
    }
}
