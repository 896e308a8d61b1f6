//! [`Places`]: the topics that messages go to, and whether they are there.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use downhaul_consumer::{BrokerError, Destination, Outgoing, PublishOutcome, Receipt};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};

use crate::admin::{self, LOOKED_FOR};
use crate::options::Options;

/// How many are known at most. Names may be made of data.
const MOST: usize = 10_000;

#[derive(Debug)]
pub(crate) struct Places {
    options: Options,
    /// Topics that were looked for, and whether they were there. Names are few, and so are compared
    /// sooner than hashed.
    known: RwLock<BTreeMap<String, bool>>,
    /// Looks that are under way. Each takes a client of its own, so all who want to know of a topic
    /// wait for the same one.
    looks: Mutex<BTreeMap<String, WeakShared<Look>>>,
}

/// Looks whether a topic is there.
type Look = BoxFuture<'static, Result<bool, Arc<BrokerError>>>;

impl Places {
    pub(crate) fn new(options: &Options) -> Self {
        Self { options: options.clone(), known: RwLock::default(), looks: Mutex::default() }
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
        let looked = self.look(topic, patience).await;
        let is_there = looked.map_err(|error| BrokerError::new(error.kind(), error.chain()))?;
        self.note(topic, is_there);
        Ok(is_there)
    }

    fn note(&self, topic: &str, is_there: bool) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            // Those that are used are looked for again.
            known.clear();
        }
        known.insert(topic.to_owned(), is_there);
    }

    /// The look that is under way, or one that begins now. It ends when nobody waits for it.
    fn look(&self, topic: &str, patience: Duration) -> Shared<Look> {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.retain(|_, look| look.upgrade().is_some_and(|look| look.peek().is_none()));
        if let Some(look) = looks.get(topic).and_then(WeakShared::upgrade) {
            return look;
        }
        let (options, name) = (self.options.clone(), topic.to_owned());
        let looking = async move { admin::find(&options, &name, patience).await.map_err(Arc::new) };
        let look = looking.boxed().shared();
        looks.extend(look.downgrade().map(|look| (topic.to_owned(), look)));
        look
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    /// As where each message names a topic of its own.
    #[test]
    fn topics_that_were_looked_for_are_not_kept_without_end() {
        let places = Places::new(&Options::new(Address::parse("localhost").unwrap()));
        (0..=MOST).for_each(|topic| places.note(&topic.to_string(), true));
        assert!(places.knows(&MOST.to_string()), "the last one");
        assert!(places.known.read().unwrap().len() <= MOST);
    }
}
