//! [`Place`]: where a group goes on, when somebody says so.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use downhaul_consumer::BrokerError;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::{Offset, TopicPartitionList};

use crate::admin;
use crate::blocking::blocking;
use crate::client::Asking;
use crate::error::{cannot, misconfigured};
use crate::options::Options;
use crate::own;

/// Where a group goes on in a topic, in each of its partitions; see
/// [`Kafka::seek`](crate::Kafka::seek).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// With the first message that is still kept.
    First,
    /// With the first message that is published from now on.
    End,
    /// With the first message that was published at this time or later.
    Since(SystemTime),
}

/// Sets where a group goes on in a topic, while nobody reads as the group.
pub(crate) async fn seek(
    options: &Options,
    group: &str,
    topic: &str,
    to: Place,
) -> Result<(), BrokerError> {
    if !admin::find(options, topic, Duration::ZERO).await? {
        return Err(misconfigured(format!("there is no topic `{topic}` at {}", options.address)));
    }
    let group = own::reader(group, topic);
    let client: BaseConsumer<Asking> = options
        .consumer(&group)?
        // The end of a partition is that of all messages: those of transactions under way are not
        // published from now on.
        .set("isolation.level", "read_uncommitted")
        .create_with_context(Asking::default())
        .map_err(|error| cannot("make a client of Kafka", &error))?;
    let what = format!("set where the group `{group}` goes on in `{topic}`");
    let (topic, within) = (topic.to_owned(), options.connect_timeout);
    let seeking = blocking(move || {
        if members(&client, &group, within)? > 0 {
            return Ok(false);
        }
        client.commit(&places(&client, &topic, to, within)?, CommitMode::Sync)?;
        Ok(true)
    });
    match seeking.await {
        Ok(true) => Ok(()),
        Ok(false) => Err(is_read(&what)),
        Err(error) if has_members(&error) => Err(is_read(&what)),
        Err(error) => Err(cannot(&what, &error)),
    }
}

/// Whether the brokers refused because nobody else sets the offsets of a group that has members.
fn has_members(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    matches!(
        code,
        Some(Code::UnknownMemberId | Code::IllegalGeneration | Code::RebalanceInProgress)
    )
}

fn is_read(what: &str) -> BrokerError {
    misconfigured(format!("cannot {what} while it is read: stop its consumers first"))
}

/// How many read as a group.
fn members(client: &BaseConsumer<Asking>, group: &str, within: Duration) -> KafkaResult<usize> {
    let groups = client.fetch_group_list(Some(group), within)?;
    let named = groups.groups().iter().filter(|one| one.name() == group);
    Ok(named.map(|one| one.members().len()).sum())
}

/// The offset of a place in each partition.
fn places(
    client: &BaseConsumer<Asking>,
    topic: &str,
    to: Place,
    within: Duration,
) -> KafkaResult<TopicPartitionList> {
    let metadata = client.fetch_metadata(Some(topic), within)?;
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    let mut places = TopicPartitionList::new();
    for partition in partitions {
        let (first, end) = client.fetch_watermarks(topic, partition.id(), within)?;
        let offset = match to {
            Place::First => first,
            Place::End => end,
            Place::Since(time) => {
                since(client, (topic, partition.id()), time, within)?.unwrap_or(end)
            }
        };
        places.add_partition_offset(topic, partition.id(), Offset::Offset(offset))?;
    }
    Ok(places)
}

/// The offset of the first message of a partition that was published at a time or later.
fn since(
    client: &BaseConsumer<Asking>,
    (topic, partition): (&str, i32),
    time: SystemTime,
    within: Duration,
) -> KafkaResult<Option<i64>> {
    let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let millis = i64::try_from(millis).unwrap_or(i64::MAX);
    let mut asked = TopicPartitionList::new();
    asked.add_partition_offset(topic, partition, Offset::Offset(millis))?;
    let found = client.offsets_for_times(asked, within)?;
    let offset = found.find_partition(topic, partition).map(|found| found.offset());
    Ok(match offset {
        Some(Offset::Offset(offset)) => Some(offset),
        _ => None,
    })
}
