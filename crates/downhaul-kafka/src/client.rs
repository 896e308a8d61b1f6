//! [`Trouble`]: what a client of librdkafka has complained of, for those who have to say why
//! something failed; and its log, as events of `tracing`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use downhaul_consumer::{BrokerError, BrokerErrorKind};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::error::{is_of_one_broker, kind};

/// In OpenSSL's words.
const UNTRUSTED: &str = "certificate verify failed";

/// The last complaint, and the last that trying again cannot mend.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Mutex<Complaints>);

#[derive(Debug, Default)]
struct Complaints {
    last: Option<String>,
    permanent: Option<String>,
    /// Whether that is said of the cluster, and not by one broker of itself.
    is_of_all: bool,
    /// Whether there was another complaint, which may be over when it is tried again.
    is_mixed: bool,
    /// Whether no broker is left to try.
    all_down: bool,
    /// Whether the certificates of the cluster were good before.
    is_known: bool,
}

impl Trouble {
    /// Of a client of a cluster that may have been reached before: a certificate that was good and
    /// is not any more has expired, as a rule, and is renewed.
    pub(crate) fn of(is_known: bool) -> Self {
        Self(Mutex::new(Complaints { is_known, ..Complaints::default() }))
    }

    pub(crate) fn note(&self, error: &KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
        let Some(code) = error.rdkafka_error_code() else { return };
        let (code, reason) = untangled(code, reason);
        let mut complaints = self.lock();
        // It only counts the complaints that came before it.
        if code == RDKafkaErrorCode::AllBrokersDown {
            complaints.all_down = true;
            return;
        }
        let may_be_renewed = complaints.is_known && code == RDKafkaErrorCode::SSL;
        let may_pass = may_be_renewed || is_lost(code, &reason);
        if kind(code) == BrokerErrorKind::Configuration && !may_pass {
            complaints.permanent = Some(reason.clone());
            complaints.is_of_all |= !is_of_one_broker(code);
        } else {
            complaints.is_mixed = true;
        }
        complaints.last = Some(reason);
    }

    /// An error that says what was tried and what the client complained of. What a broker says of
    /// itself is permanent if none is left, and each has said so.
    pub(crate) fn error(&self, what: &str) -> BrokerError {
        let complaints = self.lock();
        let is_permanent = complaints.is_of_all || (complaints.all_down && !complaints.is_mixed);
        if let Some(reason) = complaints.permanent.as_ref().filter(|_| is_permanent) {
            let words = format!("cannot {what}: {reason}");
            return BrokerError::new(BrokerErrorKind::Configuration, words);
        }
        let reason = complaints.last.as_deref().unwrap_or("no broker answered in time");
        BrokerError::new(BrokerErrorKind::Unreachable, format!("cannot {what}: {reason}"))
    }

    /// The same, if there was a complaint that trying again cannot mend, or not with that broker.
    pub(crate) fn permanent(&self, what: &str) -> Option<BrokerError> {
        let is_permanent = self.lock().permanent.is_some();
        is_permanent.then(|| self.error(what))
    }

    /// Whether there is no use in waiting for an answer.
    pub(crate) fn is_hopeless(&self) -> bool {
        let complaints = self.lock();
        complaints.all_down || complaints.is_of_all
    }

    fn lock(&self) -> MutexGuard<'_, Complaints> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As librdkafka says it of a certificate that is not good, where it was just about to write: with
/// the code of a lost link, and without its advice.
fn untangled(code: RDKafkaErrorCode, reason: &str) -> (RDKafkaErrorCode, String) {
    if code == RDKafkaErrorCode::BrokerTransportFailure && reason.contains(UNTRUSTED) {
        return (RDKafkaErrorCode::SSL, format!("{reason}: look at `ssl.ca.location`"));
    }
    (code, reason.to_owned())
}

/// Whether nothing was refused, and the link was lost before it was encrypted, or before the broker
/// had said who it lets in. librdkafka has the same code for both, and tells them apart in its
/// words alone.
fn is_lost(code: RDKafkaErrorCode, reason: &str) -> bool {
    let lost: &[_] = match code {
        RDKafkaErrorCode::Authentication => {
            &["Local: Broker transport failure", "Local: Timed out"]
        }
        RDKafkaErrorCode::SSL => &["SSL transport error"],
        _ => &[],
    };
    lost.iter().any(|words| reason.contains(words))
}

/// A line of librdkafka's log.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, "{message}");
        }
        // It is read on elsewhere than where it was left.
        RDKafkaLogLevel::Warning if facility == "OFFSET" => {
            tracing::warn!("messages may be left out, or come again: {message}");
        }
        // Links that break, as a rule. What comes of them is told at its own place.
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            tracing::info!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(target: "librdkafka", facility, "{message}");
        }
    }
}

/// Of a client that is used for one question.
#[derive(Debug, Default)]
pub(crate) struct Asking {
    pub(crate) trouble: Trouble,
}

impl ClientContext for Asking {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.trouble.note(&error, reason);
    }
}

impl rdkafka::consumer::ConsumerContext for Asking {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether what librdkafka says of its only broker, in its own words, is permanent.
    fn is_permanent(code: RDKafkaErrorCode, words: &str) -> bool {
        let trouble = Trouble::default();
        trouble.note(&KafkaError::Global(code), &format!("ssl://one:9093/bootstrap: {words}"));
        trouble.note(&KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        trouble.error("begin").is_permanent()
    }

    #[test]
    fn a_link_that_is_lost_while_it_is_encrypted_is_no_wrong_configuration() {
        let lost = "SSL handshake failed: SSL transport error: Connection timed out";
        assert!(!is_permanent(RDKafkaErrorCode::SSL, lost));
        assert!(!is_permanent(RDKafkaErrorCode::BrokerTransportFailure, "Connect failed"));
    }

    #[test]
    fn a_certificate_that_is_not_good_is_a_wrong_configuration_by_whichever_code() {
        let words = "error:0A000086:SSL routines::certificate verify failed (after 1ms)";
        for code in [RDKafkaErrorCode::SSL, RDKafkaErrorCode::BrokerTransportFailure] {
            assert!(is_permanent(code, words), "{code:?}");
        }
    }
}
