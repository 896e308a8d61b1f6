//! What librdkafka's errors mean for those who try again.

use downhaul_consumer::{BrokerError, BrokerErrorKind};
use downhaul_context::Cause;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// An error of a client, with what was tried.
pub(crate) fn cannot(what: &str, error: &KafkaError) -> BrokerError {
    let kind = error.rdkafka_error_code().map_or_else(|| kind_of_others(error), kind);
    BrokerError::new(kind, format!("cannot {what}: {}", words(error)))
}

/// An error code, with what was tried.
pub(crate) fn refused(what: &str, code: Code) -> BrokerError {
    BrokerError::new(kind(code), format!("cannot {what}: {code}"))
}

/// The settings are at fault.
pub(crate) fn misconfigured(words: impl Into<String>) -> BrokerError {
    BrokerError::new(BrokerErrorKind::Configuration, words)
}

/// The message is at fault.
pub(crate) fn unsendable(words: impl Into<String>) -> BrokerError {
    BrokerError::new(BrokerErrorKind::Message, words)
}

pub(crate) fn unreachable(words: impl Into<String>) -> BrokerError {
    BrokerError::new(BrokerErrorKind::Unreachable, words)
}

pub(crate) fn closed() -> BrokerError {
    BrokerError::new(BrokerErrorKind::Closed, "the Kafka client was closed")
}

/// What was settled last is not known to be committed, and nobody was told.
pub(crate) fn unheard() -> BrokerError {
    unreachable("partitions were lost before their last commit")
}

/// They cannot be committed, and come again.
pub(crate) fn stranded(count: usize) -> BrokerError {
    let words = "finished messages come again that lie behind unfinished ones of their partition";
    let come_again = u64::try_from(count).unwrap_or(u64::MAX);
    unreachable(format!("{words}: {count}")).with_come_again(come_again)
}

/// The context ended first.
pub(crate) fn gave_up(what: &str, cause: Cause) -> BrokerError {
    unreachable(format!("gave up trying to {what}")).with_source(cause)
}

/// Whose fault it is, and whether trying again can help.
pub(crate) fn kind(code: Code) -> BrokerErrorKind {
    match code {
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::SSL
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::PolicyViolation
        | Code::InvalidConfig
        | Code::InvalidTopic
        | Code::InvalidPartitions
        | Code::InvalidGroupId
        | Code::InvalidSessionTimeout
        | Code::InvalidTransactionTimeout
        | Code::AutoOffsetReset
        | Code::UnsupportedFeature => BrokerErrorKind::Configuration,
        Code::MessageSizeTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidMessage
        | Code::InvalidRecord => BrokerErrorKind::Message,
        _ => BrokerErrorKind::Unreachable,
    }
}

/// Whether a broker says it of itself: another may let this client in.
pub(crate) fn is_of_one_broker(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::SSL
    )
}

/// Whether a message has nowhere to go.
pub(crate) fn is_unknown_place(code: Code) -> bool {
    matches!(code, Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition)
}

fn kind_of_others(error: &KafkaError) -> BrokerErrorKind {
    match error {
        KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) | KafkaError::Nul(_) => {
            BrokerErrorKind::Configuration
        }
        _ => BrokerErrorKind::Unreachable,
    }
}

/// Without the values of properties, which may be secrets.
fn words(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, why, key, _) => match lacking(why) {
            Some(lacking) => format!("the property `{key}` asks for what was left out: {lacking}"),
            None => format!("the property `{key}` is not valid"),
        },
        error => match error.rdkafka_error_code() {
            Some(code) => code.to_string(),
            None => error.to_string(),
        },
    }
}

/// What this build is without, if that is why a property is refused.
fn lacking(why: &str) -> Option<&str> {
    match why.rsplit(": ").next()? {
        "OpenSSL not available at build time" => {
            Some("build downhaul-kafka with its feature `tls`")
        }
        why => Some(why).filter(|why| why.ends_with(" not available at build time")),
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;
    use rdkafka::producer::BaseProducer;

    use super::*;

    /// How librdkafka refuses a property.
    fn refusal(name: &str, value: &str) -> String {
        let refused = ClientConfig::new().set(name, value).create::<BaseProducer>();
        cannot("begin", &refused.err().unwrap()).to_string()
    }

    #[test]
    fn a_property_that_is_refused_is_named_with_what_is_missing_and_without_its_value() {
        assert_eq!(refusal("acks", "hush"), "cannot begin: the property `acks` is not valid");
        let lacking = "libzstd not available at build time";
        let asks = "the property `compression.type` asks for what was left out";
        assert_eq!(refusal("compression.type", "zstd"), format!("cannot begin: {asks}: {lacking}"));
    }

    #[test]
    fn what_trying_again_cannot_mend_is_permanent() {
        let denied = KafkaError::MetadataFetch(Code::SaslAuthenticationFailed);
        let error = cannot("reach Kafka", &denied);
        assert!(error.is_permanent());
        assert!(error.to_string().starts_with("cannot reach Kafka: "), "{error}");
        let down = KafkaError::MetadataFetch(Code::BrokerTransportFailure);
        assert!(!cannot("reach Kafka", &down).is_permanent());
        // While too few brokers are there, as when a cluster begins.
        assert!(!refused("make a topic", Code::InvalidReplicationFactor).is_permanent());
    }
}
