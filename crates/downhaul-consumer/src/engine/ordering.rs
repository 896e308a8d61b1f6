//! [`Ordered`]: which messages stand in one line.

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::message::Message;

type Line = dyn Fn(&Message) -> Option<u64> + Send + Sync;

/// Finds the line of a message by the hash of its key. Two keys of one hash only wait for each
/// other without need.
#[derive(Clone)]
pub(crate) struct Ordered(Arc<Line>);

impl Ordered {
    /// By what `key` makes of a message; those of `None` stand in no line.
    pub(crate) fn by<K: Hash>(key: impl Fn(&Message) -> Option<K> + Send + Sync + 'static) -> Self {
        let hasher = RandomState::new();
        Self(Arc::new(move |message| key(message).map(|key| hasher.hash_one(key))))
    }

    /// By the key that the message bears.
    pub(crate) fn by_key() -> Self {
        let hasher = RandomState::new();
        Self(Arc::new(move |message| message.key_bytes().map(|key| hasher.hash_one(key))))
    }

    pub(crate) fn line(&self, message: &Message) -> Option<u64> {
        let line = catch_unwind(AssertUnwindSafe(|| (self.0)(message)));
        line.unwrap_or_else(|_| {
            tracing::error!(message_id = message.id(), "the function for its key panicked");
            // In order with all others of unknown key.
            Some(0)
        })
    }
}

impl fmt::Debug for Ordered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ordered")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_no_text_have_lines_of_their_own() {
        let ordered = Ordered::by_key();
        let line = |key: i64| ordered.line(&Message::new("").with_key_bytes(key.to_be_bytes()));
        assert_eq!(line(200), line(200));
        assert_ne!(line(200), line(201), "though both read the same");
        assert_eq!(ordered.line(&Message::new("")), None);
    }
}
