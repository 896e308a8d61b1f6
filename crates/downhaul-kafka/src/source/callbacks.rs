//! [`Callbacks`]: what librdkafka says to a consumer while it is polled.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, TopicPartitionList};

use crate::client::{self, Trouble};
use crate::source::statistics::Statistics;

/// A consumer of librdkafka that speaks to [`Callbacks`].
pub(super) type Client = BaseConsumer<Callbacks>;

#[derive(Debug, Default)]
pub(super) struct Callbacks {
    said: Mutex<Vec<Said>>,
    /// Counts all that was said, so that a poll that brings no message can be told from one that
    /// found nothing.
    count: AtomicU64,
    /// Whether the consumer leaves its group: then nobody is asked any more.
    is_leaving: AtomicBool,
    pub(super) trouble: Trouble,
    /// The latest.
    statistics: Mutex<Option<Statistics>>,
    /// Whether somebody wants to see all of them.
    shows_statistics: bool,
}

#[derive(Debug)]
pub(super) enum Said {
    /// Partitions are to be begun with, by `take_up`.
    Assign(TopicPartitionList),
    /// Partitions are to be given up, by `give_up`. Until then nobody else gets them.
    Revoke(TopicPartitionList),
}

impl Callbacks {
    pub(super) fn new(trouble: Trouble, shows_statistics: bool) -> Self {
        Self { trouble, shows_statistics, ..Self::default() }
    }

    /// The latest that were not taken yet.
    pub(super) fn take_statistics(&self) -> Option<Statistics> {
        self.statistics.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn take(&self) -> Vec<Said> {
        std::mem::take(&mut *self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// From now on, answers at once whatever is asked. Returns what was not taken yet.
    pub(super) fn leave(&self) -> Vec<Said> {
        self.is_leaving.store(true, Ordering::Release);
        self.take()
    }

    fn hear(&self, said: Said) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.said.lock().unwrap_or_else(PoisonError::into_inner).push(said);
    }
}

impl ClientContext for Callbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.count.fetch_add(1, Ordering::Relaxed);
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.trouble.note(&error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if self.shows_statistics {
            let statistics = String::from_utf8_lossy(statistics);
            tracing::debug!(target: "librdkafka::statistics", "{statistics}");
        }
        let statistics = Statistics::read(statistics);
        *self.statistics.lock().unwrap_or_else(PoisonError::into_inner) = statistics;
    }
}

impl ConsumerContext for Callbacks {
    /// Only notes it: librdkafka waits for [`take_up`] and [`give_up`], which come later.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let assigns = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.is_leaving.load(Ordering::Acquire) {
            self.count.fetch_add(1, Ordering::Relaxed);
            let answer = if assigns { take_up } else { give_up };
            note(answer(consumer, partitions));
        } else if assigns {
            self.hear(Said::Assign(partitions.clone()));
        } else {
            self.hear(Said::Revoke(partitions.clone()));
        }
    }
}

/// Begins to read partitions, from what was committed of them.
pub(super) fn take_up(consumer: &Client, partitions: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(partitions),
    }
}

/// Lets partitions go to others.
pub(super) fn give_up(consumer: &Client, partitions: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
    }
}

/// What cannot be helped: the group has moved on, and will ask again.
pub(super) fn note(outcome: KafkaResult<()>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "a change of partitions came too late");
    }
}
