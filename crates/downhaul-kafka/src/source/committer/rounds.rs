//! [`Rounds`]: commits offsets together with what their messages lead to, a transaction a round.

use std::future::pending;
use std::mem;
use std::sync::Arc;

use downhaul_consumer::BrokerError;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rdkafka::consumer::{Consumer, ConsumerGroupMetadata};

use crate::blocking::blocking;
use crate::error::{cannot, closed, unreachable};
use crate::source::callbacks::Client;
use crate::source::committer::Ended;
use crate::source::keeper::Outcome;
use crate::source::kept::Kept;
use crate::source::mailbox::Tenure;
use crate::transactions::{Part, TransactionalProducer, Transactions};

/// Transactions, one at a time, until one fails.
pub(in crate::source) struct Rounds {
    transactions: Arc<Transactions>,
    producer: Arc<TransactionalProducer>,
    under_way: Option<BoxFuture<'static, Outcome>>,
    /// Whether another was asked for while there was one.
    is_wanted: bool,
    failure: Failure,
}

/// Whether a transaction has failed. There is none after it.
enum Failure {
    None,
    /// And nobody was told yet why.
    Untold(BrokerError),
    Told,
}

impl Rounds {
    pub(in crate::source) fn new(
        transactions: &Arc<Transactions>,
        producer: &Arc<TransactionalProducer>,
    ) -> Self {
        Self {
            transactions: Arc::clone(transactions),
            producer: Arc::clone(producer),
            under_way: None,
            is_wanted: false,
            failure: Failure::None,
        }
    }

    /// Makes a partition known to sinks.
    pub(super) fn assigned(&self, new: &Arc<Tenure>) {
        self.transactions.assigned(new);
    }

    /// Begins a transaction of what was finished; or when the one under way has ended. Returns
    /// whether anything was taken.
    pub(super) fn begin<'a>(
        &mut self,
        client: &Client,
        lanes: impl IntoIterator<Item = &'a mut Kept>,
    ) -> bool {
        self.is_wanted = self.under_way.is_some();
        // What was lost is soon heard of by others.
        !self.is_wanted && self.start(client, lanes).unwrap_or_default()
    }

    /// Waits for the end of what was begun. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Ended, BrokerError> {
        if self.under_way.is_some() {
            self.end().await;
        } else if !self.is_wanted && !matches!(self.failure, Failure::Untold(_)) {
            return pending().await;
        }
        match mem::replace(&mut self.failure, Failure::Told) {
            Failure::Untold(error) => return Err(error),
            before => self.failure = before,
        }
        Ok(Ended { committed: None, is_more_wanted: mem::take(&mut self.is_wanted) })
    }

    /// Makes a transaction of what was finished of partitions that are to go.
    pub(super) async fn finish(&mut self, client: &Client, lanes: &mut [Kept]) -> Outcome {
        self.end().await;
        self.start(client, lanes)?;
        self.end().await;
        match &self.failure {
            Failure::None => Ok(()),
            Failure::Untold(error) => Err(unreachable(error.chain())),
            Failure::Told => Err(unreachable("a transaction has failed before")),
        }
    }

    /// Waits no longer. Whatever the transaction comes to, the broker takes no offset of partitions
    /// that others have by then, since it is sent in the name of a membership that is over.
    pub(super) fn give_up(&mut self) {
        self.under_way = None;
        self.fail(unreachable("no answer to a transaction"));
    }

    /// Returns whether there was anything to begin with.
    ///
    /// # Errors
    ///
    /// The partitions are lost, and so is what was finished of them.
    fn start<'a>(
        &mut self,
        client: &Client,
        lanes: impl IntoIterator<Item = &'a mut Kept>,
    ) -> Result<bool, BrokerError> {
        if !matches!(self.failure, Failure::None) {
            return Ok(false);
        }
        let group = membership(client)?;
        let parts: Vec<_> = lanes.into_iter().filter_map(take).collect();
        if parts.is_empty() {
            return Ok(false);
        }
        let producer = Arc::clone(&self.producer);
        let round = blocking(move || Ok(producer.commit(&parts, &group)));
        let ended = round
            .map(|ended| ended.unwrap_or_else(|error| Err(cannot("commit a transaction", &error))));
        self.under_way = Some(ended.boxed());
        Ok(true)
    }

    /// Waits for the one under way. Cancel safe.
    async fn end(&mut self) {
        let Some(under_way) = &mut self.under_way else { return };
        let ended = under_way.await;
        self.under_way = None;
        if let Err(error) = ended {
            self.fail(error);
        }
    }

    fn fail(&mut self, error: BrokerError) {
        // The first one, which the others come from.
        if matches!(self.failure, Failure::None) {
            self.failure = Failure::Untold(error);
        }
    }
}

/// In whose name offsets are committed, while partitions are this consumer's.
///
/// Librdkafka forgets a membership that is lost before it is heard of, and brokers take the offsets
/// of a transaction that is in nobody's name. So it is asked afterwards whether it was there.
///
/// # Errors
///
/// It is lost.
fn membership(client: &Client) -> Result<ConsumerGroupMetadata, BrokerError> {
    let group = client.group_metadata().ok_or_else(closed)?;
    match client.assignment_lost() {
        true => Err(unreachable("the partitions were lost meanwhile")),
        false => Ok(group),
    }
}

/// What was finished of a partition since the last transaction, and what it leads to: both under
/// one lock.
fn take(kept: &mut Kept) -> Option<Part> {
    let mut progress = kept.tenure.progress();
    let offset = progress.watermark().filter(|offset| Some(*offset) > kept.committed)?;
    // If the transaction fails, there is none after it.
    kept.committed = Some(offset);
    let (topic, partition) = (kept.tenure.topic.to_string(), kept.tenure.partition);
    Some(Part { topic, partition, offset, outputs: progress.take_ready() })
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use rdkafka::ClientConfig;
    use rdkafka::config::FromClientConfigAndContext;

    use super::*;
    use crate::source::callbacks::Callbacks;

    fn client() -> Client {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "127.0.0.1:1").set("group.id", "g");
        Client::from_config_and_context(&config, Callbacks::default()).unwrap()
    }

    /// With a transaction that ends as is said.
    fn rounds(ended: Outcome) -> Rounds {
        let transactions = Arc::new(Transactions::new("id".to_owned()));
        let producer = Arc::new(TransactionalProducer::without_client());
        let mut rounds = Rounds::new(&transactions, &producer);
        rounds.under_way = Some(ready(ended).boxed());
        rounds
    }

    #[tokio::test]
    async fn what_was_asked_for_meanwhile_is_not_forgotten_when_partitions_go() {
        let (client, mut rounds) = (client(), rounds(Ok(())));
        assert!(!rounds.begin(&client, []));
        rounds.finish(&client, &mut []).await.unwrap();
        let ended = rounds.next().now_or_never().expect("it is told at once");
        assert!(ended.unwrap().is_more_wanted);
        // Once.
        assert!(rounds.next().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_failure_is_told_once_and_nothing_is_begun_after_it() {
        let (client, mut rounds) = (client(), rounds(Err(unreachable("it failed"))));
        assert!(!rounds.begin(&client, []));
        let told = rounds.finish(&client, &mut []).await.unwrap_err();
        assert_eq!(told.to_string(), "it failed");
        let told = rounds.next().now_or_never().expect("it is told at once");
        assert_eq!(told.err().unwrap().to_string(), "it failed");
        // What was asked for meanwhile comes to nothing.
        assert!(rounds.next().now_or_never().is_some());
        assert!(!rounds.begin(&client, []));
        assert!(rounds.next().now_or_never().is_none());
        assert!(rounds.finish(&client, &mut []).await.is_err());
    }
}
