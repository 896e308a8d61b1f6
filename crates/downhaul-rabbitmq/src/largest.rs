//! [`Largest`]: how large a message may be, as far as RabbitMQ has said.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use downhaul_consumer::BrokerError;

/// `max_message_size` of RabbitMQ 3. Version 4 takes 16 MiB, and operators set what they like.
const UNTOLD: usize = 128 << 20;

/// The largest payload in bytes, for all who publish to a broker. It is told with the end of the
/// channel, and of all that is under way on it: so a message that is too large costs that once.
#[derive(Clone, Debug)]
pub(crate) struct Largest(Arc<AtomicUsize>);

impl Largest {
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes note of it, if that is what this is about.
    pub(crate) fn learn(&self, error: &BrokerError) {
        if let Some(bytes) = told(&error.chain()) {
            tracing::warn!(bytes, "RabbitMQ takes no larger messages (`max_message_size`)");
            self.0.store(bytes, Ordering::Relaxed);
        }
    }
}

impl Largest {
    /// A broker that is connected to anew may have another limit.
    pub(crate) fn forget(&self) {
        self.0.store(UNTOLD, Ordering::Relaxed);
    }
}

impl Default for Largest {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(UNTOLD)))
    }
}

/// Of RabbitMQ's "message size 200000 is larger than configured max size 100000".
fn told(words: &str) -> Option<usize> {
    let (_, rest) = words.split_once("is larger than configured max size ")?;
    let end = rest.find(|it: char| !it.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}
