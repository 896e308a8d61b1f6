//! What librdkafka complains of to a consumer, and what of it ends a source.

use downhaul_consumer::BrokerError;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message as _};

use crate::error::{cannot, unreachable};

/// Whether a consumer of a group can go on.
///
/// # Errors
///
/// It cannot.
pub(super) fn judge(error: &KafkaError, group: &str) -> Result<(), BrokerError> {
    if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
        return Err(cannot("consume", error));
    }
    match error.rdkafka_error_code() {
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => {
            Err(unreachable(format!("a topic is gone: {error}")))
        }
        // They go, as a rule: a service that is being replaced.
        Some(Code::InconsistentGroupProtocol) => Err(unreachable(format!(
            "cannot join the group `{group}`: its members have another \
             `partition.assignment.strategy`"
        ))),
        Some(Code::AutoOffsetReset) => Err(cannot("begin a partition", error)),
        // Everything else librdkafka mends by itself, or it comes to one of the above.
        _ => {
            tracing::debug!(%error, "a complaint of librdkafka");
            Ok(())
        }
    }
}

/// It is not committed, and so comes again once there is another source.
pub(super) fn astray(record: &BorrowedMessage<'_>) -> BrokerError {
    let (topic, partition) = (record.topic(), record.partition());
    unreachable(format!("a record of partition {partition} of `{topic}` came astray"))
}
