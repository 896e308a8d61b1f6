//! [`TransactionalProducer`]: makes transactions, one after another.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use downhaul_consumer::BrokerError;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::producer::Producer;

use crate::blocking::blocking;
use crate::error::{cannot, closed, unreachable};
use crate::options::Options;
use crate::transactions::Transactions;
use crate::transactions::reports::{Client, Reports, failed};
use crate::transactions::round::{Part, Round};

/// A producer with the right to make transactions, until another of the same id takes it away.
pub(crate) struct TransactionalProducer {
    /// Taken only by `drop`.
    client: Option<Client>,
    /// How long a transaction may take.
    within: Duration,
    /// Whether a transaction has failed; held while there is one.
    has_failed: Mutex<bool>,
}

impl TransactionalProducer {
    /// Ends whatever a producer of the same id has begun, and keeps it from beginning more.
    pub(crate) async fn open(
        options: &Options,
        transactions: &Transactions,
    ) -> Result<Self, BrokerError> {
        let id = transactions.id.clone();
        let config = options.transactional_producer(&id)?;
        let what = format!("begin transactions as `{id}` at {}", options.address);
        let reports = Reports::new(id, Arc::clone(&transactions.refusals));
        let client = Client::from_config_and_context(&config, reports);
        let client = client.map_err(|error| cannot("make a client of Kafka", &error))?;
        let within = Options::transaction_timeout(&config);
        let this = Self { client: Some(client), within, has_failed: Mutex::default() };
        let patience = options.connect_timeout;
        let begun = blocking(move || Ok(this.begin(patience, &what).map(|()| this)));
        begun.await.map_err(|error| cannot("begin transactions", &error))?
    }

    fn begin(&self, patience: Duration, what: &str) -> Result<(), BrokerError> {
        let client = self.client()?;
        client.init_transactions(patience).map_err(|error| {
            // What it has to complain of is heard only now.
            client.poll(Duration::ZERO);
            let known = client.context().trouble.permanent(what);
            known.unwrap_or_else(|| failed(client, what, &error))
        })
    }

    /// Publishes and commits, all of it or nothing. Keeps its thread waiting, first for the
    /// transaction of another membership that is under way.
    ///
    /// # Errors
    ///
    /// It cannot be told whether the transaction was made, or it was not since one before it has
    /// failed.
    pub(crate) fn commit(
        &self,
        parts: &[Part],
        group: &ConsumerGroupMetadata,
    ) -> Result<(), BrokerError> {
        let mut has_failed = self.has_failed.lock().unwrap_or_else(PoisonError::into_inner);
        if *has_failed {
            return Err(unreachable("a transaction has failed before"));
        }
        let made = self.make(parts, group);
        *has_failed = made.is_err();
        made
    }

    fn make(&self, parts: &[Part], group: &ConsumerGroupMetadata) -> Result<(), BrokerError> {
        let client = self.client()?;
        let round = Round::begin(client, self.within)?;
        if let Err(error) = round.fill(parts, group) {
            round.abort();
            return Err(error);
        }
        round.commit()?;
        for part in parts {
            client.context().refusals.forget(&part.topic, part.partition, part.offset);
        }
        Ok(())
    }

    /// One that can do nothing.
    #[cfg(test)]
    pub(crate) fn without_client() -> Self {
        Self { client: None, within: Duration::ZERO, has_failed: Mutex::default() }
    }

    fn client(&self) -> Result<&Client, BrokerError> {
        self.client.as_ref().ok_or_else(closed)
    }
}

/// Ends what is under way, on a thread of its own, since that waits for the broker.
impl Drop for TransactionalProducer {
    fn drop(&mut self) {
        let client = self.client.take();
        // If there is no thread to be had, it happens here.
        let ending = thread::Builder::new().name("kafka-end".to_owned());
        let _ = ending.spawn(move || drop(client));
    }
}

impl fmt::Debug for TransactionalProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionalProducer")
            .field("within", &self.within)
            .finish_non_exhaustive()
    }
}
