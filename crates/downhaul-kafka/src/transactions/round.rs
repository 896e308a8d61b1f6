//! [`Round`]: one transaction, from its begin to its end.

use std::time::Duration;

use downhaul_consumer::BrokerError;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::Offset;
use tokio::time::Instant;

use crate::error::unreachable;
use crate::transactions::output::Output;
use crate::transactions::reports::{Client, failed};

/// How long it is tried to end a transaction that has failed. The next source ends it in any case.
const ABORT: Duration = Duration::from_secs(2);
/// How long one look at what has been delivered takes.
const LOOK: Duration = Duration::from_millis(1);

const PUBLISH: &str = "publish in a transaction";

/// What a transaction takes of a partition.
pub(crate) struct Part {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// To be committed.
    pub(crate) offset: i64,
    /// What the messages before it lead to.
    pub(crate) outputs: Vec<Output>,
}

/// Each call keeps its thread waiting.
pub(super) struct Round<'a> {
    client: &'a Client,
    /// How long a transaction may take, and when that is over.
    within: Duration,
    until: Instant,
}

impl<'a> Round<'a> {
    pub(super) fn begin(client: &'a Client, within: Duration) -> Result<Self, BrokerError> {
        let begun = client.begin_transaction();
        begun.map_err(|error| failed(client, "begin a transaction", &error))?;
        Ok(Self { client, within, until: Instant::now() + within })
    }

    /// Puts all of it in. What is refused is found out of all messages, not of the first alone.
    pub(super) fn fill(
        &self,
        parts: &[Part],
        group: &ConsumerGroupMetadata,
    ) -> Result<(), BrokerError> {
        for output in parts.iter().flat_map(|part| &part.outputs) {
            self.send(output)?;
        }
        self.await_delivery()?;
        self.add_offsets(parts, group)
            .map_err(|error| failed(self.client, "add offsets to a transaction", &error))
    }

    /// Hands a message over, as soon as there is room. Whether it is delivered is reported.
    fn send(&self, output: &Output) -> Result<(), BrokerError> {
        let mut record = output.record();
        while let Err((error, back)) = self.client.send(record) {
            if error.rdkafka_error_code() != Some(Code::QueueFull) {
                self.client.context().note(&error, &back.delivery_opaque);
                break;
            }
            record = back;
            self.look()?;
        }
        Ok(())
    }

    fn await_delivery(&self) -> Result<(), BrokerError> {
        while self.client.in_flight_count() > 0 {
            self.look()?;
        }
        match self.client.context().first_failure() {
            Some(error) => Err(failed(self.client, PUBLISH, &error)),
            None => Ok(()),
        }
    }

    /// Hears what has been delivered.
    fn look(&self) -> Result<(), BrokerError> {
        if Instant::now() >= self.until {
            let within = self.within;
            return Err(unreachable(format!("cannot {PUBLISH}: no answer in {within:?}")));
        }
        self.client.poll(LOOK);
        Ok(())
    }

    fn add_offsets(&self, parts: &[Part], group: &ConsumerGroupMetadata) -> Result<(), KafkaError> {
        let mut offsets = TopicPartitionList::new();
        for part in parts {
            let offset = Offset::Offset(part.offset);
            offsets.add_partition_offset(&part.topic, part.partition, offset)?;
        }
        let left = self.until.saturating_duration_since(Instant::now());
        self.client.send_offsets_to_transaction(&offsets, group, left)
    }

    /// # Errors
    ///
    /// It cannot be told whether it was made.
    pub(super) fn commit(self) -> Result<(), BrokerError> {
        let committed = self.client.commit_transaction(self.within);
        committed.map_err(|error| failed(self.client, "commit a transaction", &error))
    }

    /// Ends it with nothing done, for those who wait for what is behind it.
    pub(super) fn abort(self) {
        if let Err(error) = self.client.abort_transaction(ABORT) {
            tracing::debug!(%error, "a transaction is left for the next source to end");
        }
    }
}
