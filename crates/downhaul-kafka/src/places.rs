//! [`Places`]: the topics that messages go to, and whether they are there.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use downhaul_consumer::{BrokerError, Destination, Outgoing, PublishOutcome, Receipt};

use crate::admin;
use crate::options::Options;

/// How long a topic is looked for that was not missed before. A broker hears of a new one a while
/// after whoever made it, mostly some milliseconds.
const LOOKED_FOR: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Places {
    options: Options,
    /// Topics that were looked for, and whether they were there. Names are few, and so are compared
    /// sooner than hashed.
    known: RwLock<BTreeMap<String, bool>>,
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
    pub(crate) fn topic<'a>(&self, outgoing: &'a Outgoing) -> Result<Cow<'a, str>, BrokerError> {
        match &outgoing.destination {
            Destination::Topic(topic) => Ok(Cow::Borrowed(topic)),
            Destination::Queue(group) => self.options.own.to(group, outgoing.delay).map(Cow::Owned),
        }
    }

    /// Whether it is known to be there.
    pub(crate) fn knows(&self, topic: &str) -> bool {
        self.known(topic) == Some(true)
    }

    fn known(&self, topic: &str) -> Option<bool> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(topic).copied()
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
        let patience = match self.known(topic) {
            Some(true) => return Ok(true),
            Some(false) => Duration::ZERO,
            None => LOOKED_FOR,
        };
        let is_there = admin::find(&self.options, topic, patience).await?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(topic.to_owned(), is_there);
        Ok(is_there)
    }
}
