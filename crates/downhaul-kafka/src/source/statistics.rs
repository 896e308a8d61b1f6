//! [`Statistics`]: of all that librdkafka counts, what is looked at.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

/// What librdkafka tells every `statistics.interval.ms`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Statistics {
    #[serde(default)]
    brokers: BTreeMap<String, Broker>,
    #[serde(default)]
    topics: BTreeMap<String, Topic>,
    cgrp: Option<Group>,
}

#[derive(Debug, Deserialize)]
struct Broker {
    nodeid: i32,
    source: String,
    /// In microseconds, since it last sent anything; negative while there is no link.
    rxidle: i64,
}

#[derive(Debug, Deserialize)]
struct Topic {
    partitions: BTreeMap<i32, Partition>,
}

#[derive(Debug, Deserialize)]
struct Partition {
    /// The one that it is read from.
    broker: i32,
    /// How many records were fetched and not read.
    fetchq_cnt: i64,
    /// Of the next record to fetch.
    next_offset: i64,
    /// The ends of the log: of what is committed, and of all.
    ls_offset: i64,
    hi_offset: i64,
}

#[derive(Debug, Deserialize)]
struct Group {
    join_state: String,
}

impl Statistics {
    /// `None` where they are not what they always were.
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// How long none of the brokers that matter has said anything, if there is a link to any.
    ///
    /// Those are the group's coordinator, which answers each heartbeat, and those that these
    /// partitions are read from. While a group shares out its partitions, its coordinator is silent
    /// for as long as that takes, so that any broker counts.
    pub(super) fn silence<'a>(
        &self,
        partitions: impl Iterator<Item = (&'a str, i32)>,
    ) -> Option<Duration> {
        let is_steady = self.cgrp.as_ref().is_some_and(|group| group.join_state == "steady");
        let read_from: Vec<_> = partitions
            .filter_map(|(topic, partition)| self.partition(topic, partition))
            .map(|partition| partition.broker)
            .collect();
        let matters = |broker: &&Broker| {
            !is_steady || broker.source == "logical" || read_from.contains(&broker.nodeid)
        };
        let silences = self.brokers.values().filter(matters).map(|broker| broker.rxidle);
        let least = silences.filter_map(|silence| u64::try_from(silence).ok()).min();
        least.map(Duration::from_micros)
    }

    /// How many messages of a partition are not finished, if that can be known: from the lowest
    /// that is delivered and unfinished, or else from what was last finished.
    pub(super) fn lag(
        &self,
        (topic, partition): (&str, i32),
        unfinished: Option<i64>,
        finished: Option<i64>,
        reads_uncommitted: bool,
    ) -> Option<u64> {
        let partition = self.partition(topic, partition)?;
        let committed = Some(partition.ls_offset).filter(|end| *end >= 0 && !reads_uncommitted);
        let end = committed.unwrap_or(partition.hi_offset);
        // Behind what was finished there may be ends of transactions, which are no messages.
        let next = Some(partition.next_offset).filter(|next| *next >= 0);
        let unread = next.map(|next| next - partition.fetchq_cnt);
        let position = unfinished.or_else(|| finished.max(unread))?;
        (end >= 0).then(|| u64::try_from(end - position).unwrap_or(0))
    }

    fn partition(&self, topic: &str, partition: i32) -> Option<&Partition> {
        self.topics.get(topic)?.partitions.get(&partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a consumer of partition 0 of `orders`, which is at broker 1; the coordinator is 2.
    fn statistics(join_state: &str, silences: [i64; 3]) -> Statistics {
        let [coordinator, one, three] = silences;
        let broker = |id: i32, source: &str, silence: i64| {
            format!(r#"{{"nodeid": {id}, "source": "{source}", "rxidle": {silence}, "tx": 1}}"#)
        };
        let json = format!(
            r#"{{
                "name": "rdkafka#consumer-1",
                "brokers": {{
                    "GroupCoordinator": {},
                    "one:9092/1": {},
                    "three:9092/3": {}
                }},
                "topics": {{"orders": {{"age": 5, "partitions": {{"0": {{
                    "broker": 1, "fetchq_cnt": 2, "next_offset": 12, "ls_offset": 15,
                    "hi_offset": 20
                }}}}}}}},
                "cgrp": {{"state": "up", "join_state": "{join_state}"}}
            }}"#,
            broker(2, "logical", coordinator),
            broker(1, "learned", one),
            broker(3, "learned", three)
        );
        Statistics::read(json.as_bytes()).unwrap()
    }

    fn silence(join_state: &str, silences: [i64; 3]) -> Option<u64> {
        let orders = [("orders", 0), ("not known yet", 0)].into_iter();
        let silence = statistics(join_state, silences).silence(orders)?;
        Some(u64::try_from(silence.as_micros()).unwrap())
    }

    #[test]
    fn a_consumer_hears_its_group_and_whom_it_reads_from_and_nobody_else() {
        assert_eq!(silence("steady", [5, 7, 1]), Some(5));
        assert_eq!(silence("steady", [-1, 7, 1]), Some(7));
        assert_eq!(silence("steady", [-1, -1, 1]), None);
    }

    #[test]
    fn while_a_group_shares_out_its_partitions_anybody_counts() {
        assert_eq!(silence("wait-sync", [-1, -1, 1]), Some(1));
    }

    #[test]
    fn what_is_not_finished_of_what_is_committed_is_what_a_consumer_is_behind() {
        let statistics = statistics("steady", [1, 1, 1]);
        let lag = |unfinished, finished| statistics.lag(("orders", 0), unfinished, finished, false);
        assert_eq!(lag(Some(4), Some(4)), Some(11));
        // Behind what was finished nothing but the end of a transaction was read.
        assert_eq!(lag(None, Some(9)), Some(5));
        assert_eq!(lag(None, None), Some(5));
        // It was finished since librdkafka has looked.
        assert_eq!(lag(None, Some(15)), Some(0));
        assert_eq!(lag(None, Some(16)), Some(0));
        assert_eq!(statistics.lag(("orders", 0), None, None, true), Some(10));
        assert_eq!(statistics.lag(("orders", 1), None, None, false), None);
    }
}
