//! [`Reports`]: what librdkafka says to a producer of transactions.

use std::sync::{Arc, Mutex, PoisonError};

use downhaul_consumer::{BrokerError, BrokerErrorKind};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer, ProducerContext};

use crate::client::{self, Trouble};
use crate::delivery::{is_concluded, skipped};
use crate::error::{cannot, is_unknown_place, kind, refused, unreachable};
use crate::transactions::output::Label;
use crate::transactions::refusals::Refusals;

/// A producer of librdkafka that speaks to [`Reports`].
pub(super) type Client = BaseProducer<Reports>;

#[derive(Debug)]
pub(super) struct Reports {
    id: String,
    pub(super) trouble: Trouble,
    pub(super) refusals: Arc<Refusals>,
    /// Why a message of the transaction was not delivered: the first of them.
    failed: Mutex<Option<KafkaError>>,
}

impl Reports {
    pub(super) fn new(id: String, refusals: Arc<Refusals>) -> Self {
        Self { id, trouble: Trouble::default(), refusals, failed: Mutex::default() }
    }

    /// Notes why a message was not delivered. If trying again cannot help, it was refused.
    pub(super) fn note(&self, error: &KafkaError, label: &Label) {
        self.failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(|| error.clone());
        let is_final = error.rdkafka_error_code().is_some_and(|code| {
            kind(code) != BrokerErrorKind::Unreachable || is_unknown_place(code)
        });
        if is_final {
            let Label { origin, topic, size } = label.clone();
            let words = cannot(&format!("publish to `{topic}`"), error).to_string();
            let is_too_large = error.rdkafka_error_code() == Some(Code::MessageSizeTooLarge);
            self.refusals.note(origin, topic, words, if is_too_large { size } else { 0 });
        }
    }

    pub(super) fn first_failure(&self) -> Option<KafkaError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// An error of a client, with what was tried.
pub(super) fn failed(client: &Client, what: &str, error: &KafkaError) -> BrokerError {
    // What the producer has died of says more than what follows from it.
    let fatal = client.client().fatal_error().map(|(code, _)| code);
    match fatal.or_else(|| error.rdkafka_error_code()) {
        Some(Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch) => {
            let (id, words) = (&client.context().id, "another with this transactional id");
            unreachable(format!("cannot {what} as `{id}`: {words} has taken over"))
        }
        Some(code) => refused(what, code),
        None => cannot(what, error),
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        client::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.trouble.note(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Label>;

    fn delivery(&self, result: &DeliveryResult<'_>, label: Box<Label>) {
        match result {
            Ok(record) if is_concluded(record) => self.note(&skipped(), &label),
            Ok(_) => {}
            Err((error, _)) => self.note(error, &label),
        }
    }
}
