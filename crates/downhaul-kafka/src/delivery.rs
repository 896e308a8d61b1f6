//! What a broker has said of a message, and what librdkafka only concludes.
//!
//! A producer that is idempotent has several requests under way, and when a later one succeeds
//! after an earlier one has failed, librdkafka reports the messages of the earlier one as
//! delivered: brokers write them in order, or none. A broker before Kafka 4.5 does not where it
//! knows nothing of the producer, as in a partition that was just made
//! ([KAFKA-15591](https://issues.apache.org/jira/browse/KAFKA-15591)). So that conclusion is none
//! here.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message as _};

/// What a message has until a broker says where it is: `RD_KAFKA_OFFSET_INVALID` of `rdkafka.h`.
const NOWHERE: i64 = -1001;

/// Whether no broker has said that a message is written which librdkafka calls delivered.
pub(crate) fn is_concluded(delivered: &BorrowedMessage<'_>) -> bool {
    delivered.offset() == NOWHERE
}

/// What a broker says when such a message is sent to it again.
pub(crate) fn skipped() -> KafkaError {
    KafkaError::MessageProduction(Code::OutOfOrderSequenceNumber)
}

#[cfg(test)]
mod tests {
    use downhaul_consumer::BrokerErrorKind;

    use super::*;
    use crate::error::{is_unknown_place, kind};

    /// Else a transaction would count it as refused, and never try it again.
    #[test]
    fn a_message_that_was_passed_over_may_be_sent_again() {
        let code = skipped().rdkafka_error_code().unwrap();
        assert_eq!(kind(code), BrokerErrorKind::Unreachable);
        assert!(!is_unknown_place(code));
    }
}
