//! [`Beginnings`]: where a group begins with partitions of which it has no offset, if that is their
//! end.
//!
//! Librdkafka begins them there when `auto.offset.reset` says so, and notes it nowhere. Until
//! something of a partition is finished, whoever has it next begins at its end once more, and what
//! was published in between is left out. So the end is looked up before a partition is begun, and
//! committed like what was finished.

use std::future::pending;
use std::time::Duration;

use downhaul_consumer::BrokerError;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::sleep;

use crate::blocking::blocking;
use crate::error::cannot;
use crate::source::callbacks::Client;
use crate::source::member::Member;

/// How long after a look that has failed there is another.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Beginnings {
    /// One assignment at a time: librdkafka makes no other before this one is begun.
    under_way: Option<(TopicPartitionList, Look)>,
}

type Look = BoxFuture<'static, Result<TopicPartitionList, BrokerError>>;

impl Beginnings {
    /// Begins to look for those of partitions, each look within a time.
    pub(super) fn find(
        &mut self,
        member: Member,
        partitions: TopicPartitionList,
        within: Duration,
    ) {
        let look = look(member, partitions.clone(), within).boxed();
        self.under_way = Some((partitions, look));
    }

    /// The partitions, with the offsets where those begin of which the group has none. Cancel safe.
    ///
    /// # Errors
    ///
    /// It cannot be seen, and trying again does not help.
    pub(super) async fn next(&mut self) -> Result<TopicPartitionList, BrokerError> {
        let Some((_, look)) = &mut self.under_way else { return pending().await };
        let found = look.await;
        self.under_way = None;
        found
    }

    /// Looks no more. Returns what librdkafka waits for to be begun.
    pub(super) fn give_up(&mut self) -> Option<TopicPartitionList> {
        self.under_way.take().map(|(partitions, _)| partitions)
    }
}

async fn look(
    member: Member,
    partitions: TopicPartitionList,
    within: Duration,
) -> Result<TopicPartitionList, BrokerError> {
    loop {
        let (asking, partitions) = (member.share(), partitions.clone());
        let looking = blocking(move || {
            let client = asking.client().map_err(|_| KafkaError::Canceled)?;
            ends(client, &partitions, within)
        });
        match looking.await.map_err(|error| cannot("see where partitions end", &error)) {
            Err(error) if !error.is_permanent() => {
                tracing::debug!(%error, "it is not seen where partitions end");
                sleep(AGAIN).await;
            }
            found => return found,
        }
    }
}

/// Partitions, with the ends of those of which the group has no offset.
fn ends(
    client: &Client,
    partitions: &TopicPartitionList,
    within: Duration,
) -> KafkaResult<TopicPartitionList> {
    let committed = client.committed_offsets(partitions.clone(), within)?;
    let mut ends = TopicPartitionList::new();
    for one in committed.elements() {
        one.error()?;
        let (topic, partition) = (one.topic(), one.partition());
        let begins = match one.offset() {
            Offset::Offset(_) => Offset::Invalid,
            _ => Offset::Offset(client.fetch_watermarks(topic, partition, within)?.1),
        };
        ends.add_partition_offset(topic, partition, begins)?;
    }
    Ok(ends)
}
