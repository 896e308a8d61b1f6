//! [`Plain`]: commits offsets alone.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::BrokerError;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::Offset;
use tokio::time::sleep;

use crate::blocking::blocking;
use crate::error::{cannot, unheard};
use crate::source::callbacks::Client;
use crate::source::committer::Ended;
use crate::source::keeper::Outcome;
use crate::source::kept::Kept;

/// How often it is tried while the group takes none.
const COMMIT_AGAIN: Duration = Duration::from_millis(50);

/// Commits, one at a time, so that none overtakes another.
#[derive(Default)]
pub(in crate::source) struct Plain {
    under_way: Option<BoxFuture<'static, Committed>>,
    /// Whether another was asked for while there was one.
    is_wanted: bool,
}

/// What came of a commit, and which it was.
type Committed = (Result<(), KafkaError>, TopicPartitionList);

impl Plain {
    pub(super) fn begin<'a>(
        &mut self,
        client: &Arc<Client>,
        lanes: impl IntoIterator<Item = &'a Kept>,
    ) {
        self.is_wanted = self.under_way.is_some();
        if self.is_wanted {
            return;
        }
        let offsets = offsets(lanes);
        if offsets.count() > 0 {
            let client = Arc::clone(client);
            let committing = async move {
                let asked = offsets.clone();
                (blocking(move || commit(&client, &asked)).await, offsets)
            };
            self.under_way = Some(committing.boxed());
        }
    }

    pub(super) async fn next(&mut self) -> Result<Ended, BrokerError> {
        let Some(under_way) = &mut self.under_way else {
            if !std::mem::take(&mut self.is_wanted) {
                return pending().await;
            }
            return Ok(Ended { committed: None, is_more_wanted: true });
        };
        let (answer, offsets) = under_way.await;
        self.under_way = None;
        let is_more_wanted = std::mem::take(&mut self.is_wanted);
        match answer.map_err(|error| cannot("commit offsets", &error)) {
            Ok(()) => Ok(Ended { committed: Some(offsets), is_more_wanted }),
            Err(error) if error.is_permanent() => Err(error),
            Err(error) => {
                tracing::debug!(%error, "a commit failed and is made again");
                Ok(Ended { committed: None, is_more_wanted })
            }
        }
    }

    /// Also while the group shares its partitions anew, when it takes no commit, or takes this for
    /// one of the time before.
    pub(super) async fn finish(&mut self, client: &Arc<Client>, lanes: &[Kept]) -> Outcome {
        if let Some(under_way) = &mut self.under_way {
            // What came of it does not matter: all of it is committed again.
            let _ = under_way.await;
            self.under_way = None;
        }
        let offsets = offsets(lanes);
        if offsets.count() == 0 {
            return Ok(());
        }
        loop {
            let (asking, offsets) = (Arc::clone(client), offsets.clone());
            match blocking(move || commit(&asking, &offsets)).await {
                Err(error) if is_moving(&error) && !client.assignment_lost() => {
                    sleep(COMMIT_AGAIN).await;
                }
                // Held up until its membership was over, it may have come after others had begun.
                Ok(()) if client.assignment_lost() => return Err(unheard()),
                answer => return answer.map_err(|error| cannot("commit offsets", &error)),
            }
        }
    }
}

/// Commits offsets, all of them. Keeps its thread waiting, since librdkafka tells nobody of the
/// answer to a commit that does not.
///
/// # Errors
///
/// It failed, be it for one partition alone.
fn commit(client: &Client, offsets: &TopicPartitionList) -> Result<(), KafkaError> {
    client.commit(offsets, CommitMode::Sync)
}

/// What was finished and is not known to be committed.
fn offsets<'a>(lanes: impl IntoIterator<Item = &'a Kept>) -> TopicPartitionList {
    let mut offsets = TopicPartitionList::new();
    for kept in lanes {
        let watermark = kept.tenure.progress().watermark();
        if let Some(offset) = watermark.filter(|_| watermark > kept.committed) {
            let (topic, partition) = (&*kept.tenure.topic, kept.tenure.partition);
            // Only a negative offset is refused, and no record has one.
            let _ = offsets.add_partition_offset(topic, partition, Offset::Offset(offset));
        }
    }
    offsets
}

/// Whether the group shares its partitions anew. Nobody else has those that are not given up yet.
fn is_moving(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(code, Some(Code::RebalanceInProgress | Code::IllegalGeneration))
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use rdkafka::ClientConfig;
    use rdkafka::config::FromClientConfigAndContext;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;

    use super::*;
    use crate::source::callbacks::Callbacks;

    fn client(config: &mut ClientConfig) -> Client {
        let config = config.set("group.id", "g");
        Client::from_config_and_context(config, Callbacks::default()).unwrap()
    }

    /// Or it would wait for the next time, which may be far away.
    #[tokio::test]
    async fn what_was_asked_for_meanwhile_is_not_forgotten() {
        let client = Arc::new(client(&mut ClientConfig::new()));
        let under_way = || ready((Ok(()), TopicPartitionList::new())).boxed();
        let mut plain = Plain { under_way: Some(under_way()), is_wanted: false };
        plain.begin(&client, []);
        let ended = plain.next().now_or_never().expect("it is told at once");
        assert!(ended.unwrap().is_more_wanted);

        // Also when partitions have gone since.
        plain.under_way = Some(under_way());
        plain.begin(&client, []);
        plain.finish(&client, &[]).await.unwrap();
        let ended = plain.next().now_or_never().expect("it is told at once");
        assert!(ended.unwrap().is_more_wanted);
        // Once.
        assert!(plain.next().now_or_never().is_none());
    }

    /// Commits the offset 7 of partitions of a topic that has a partition 0 alone.
    fn commit_of(partitions: &[i32]) -> Result<(), KafkaError> {
        let mock: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        mock.create_topic("t", 1, 1).unwrap();
        let mut config = ClientConfig::new();
        let client = client(config.set("bootstrap.servers", mock.bootstrap_servers()));
        let mut offsets = TopicPartitionList::new();
        for partition in partitions {
            offsets.add_partition_offset("t", *partition, Offset::Offset(7)).unwrap();
        }
        commit(&client, &offsets)
    }

    /// It is librdkafka that sees to it.
    #[test]
    fn a_commit_that_fails_for_one_partition_is_not_taken_for_done() {
        assert_eq!(commit_of(&[0]), Ok(()));
        for partitions in [[0, 1], [1, 0]] {
            let error = commit_of(&partitions).unwrap_err();
            assert_eq!(error.rdkafka_error_code(), Some(Code::UnknownTopicOrPartition));
        }
    }
}
