//! [`Kept`]: what the keeper knows of a partition.

use std::sync::Arc;

use rdkafka::TopicPartitionList;

use crate::source::mailbox::Tenure;

/// A partition of a topic.
pub(super) type Key = (String, i32);

pub(super) fn keys(partitions: &TopicPartitionList) -> Vec<Key> {
    let elements = partitions.elements();
    elements.iter().map(|one| (one.topic().to_owned(), one.partition())).collect()
}

/// A partition that is this consumer's.
pub(super) struct Kept {
    pub(super) tenure: Arc<Tenure>,
    /// What the broker has confirmed, or was given in a transaction.
    pub(super) committed: Option<i64>,
}

impl Kept {
    /// Whether something was finished that is not known to be committed.
    pub(super) fn has_uncommitted(&self) -> bool {
        self.tenure.progress().watermark() > self.committed
    }

    /// How many messages were finished that no offset to commit covers. Says so where it has gone
    /// with them.
    pub(super) fn tell_stranded(&self) -> usize {
        let (stranded, head) = {
            let progress = self.tenure.progress();
            (progress.stranded(), progress.head())
        };
        if stranded > 0 {
            let Tenure { topic, partition, .. } = &*self.tenure;
            let topic = topic.as_str();
            tracing::warn!(
                topic,
                partition,
                unfinished = head,
                stranded,
                "finished messages come again that lie behind an unfinished one of their partition"
            );
        }
        stranded
    }
}
