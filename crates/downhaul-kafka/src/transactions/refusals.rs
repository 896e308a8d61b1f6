//! [`Refusals`]: what the broker did not take, and with it a transaction.
//!
//! A transaction takes all or nothing, and so a message that the broker refuses for good, such as
//! one that is too large, would end each transaction that it comes in. It is told of when the
//! handler publishes it for the next time: then the handling fails as it would without
//! transactions, and the message goes to the dead letters.
//!
//! A refusal is forgotten once the message that led to it is committed, or when a source was there
//! and gone without coming across it: then the message is somebody else's.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::source::Tenure;

/// The place of a message that led to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    topic: String,
    partition: i32,
    offset: i64,
}

impl Origin {
    pub(crate) fn new(tenure: &Tenure, offset: i64) -> Self {
        Self { topic: tenure.topic.to_string(), partition: tenure.partition, offset }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// How many sources there have been.
    source: u64,
    /// By where it came from and the topic that it was for.
    refused: HashMap<(Origin, String), Refusal>,
}

#[derive(Debug)]
struct Refusal {
    why: String,
    /// From what size on messages are refused.
    from: usize,
    /// The last source that came across it.
    source: u64,
}

impl Refusals {
    /// Notes that another source begins.
    pub(super) fn begin(&self) {
        let mut known = self.lock();
        known.source += 1;
        let last = known.source - 1;
        known.refused.retain(|_, refusal| refusal.source >= last);
    }

    pub(super) fn note(&self, origin: Origin, topic: String, why: String, from: usize) {
        let mut known = self.lock();
        let source = known.source;
        known.refused.insert((origin, topic), Refusal { why, from, source });
    }

    /// Why a message of this size was refused, if it was. One that was too large may be tried with
    /// less in it.
    pub(super) fn find(&self, origin: &Origin, topic: &str, size: usize) -> Option<String> {
        let mut known = self.lock();
        // Next to always.
        if known.refused.is_empty() {
            return None;
        }
        let source = known.source;
        let refusal = known.refused.get_mut(&(origin.clone(), topic.to_owned()))?;
        refusal.source = source;
        (size >= refusal.from).then(|| refusal.why.clone())
    }

    /// Forgets those from before an offset that is committed.
    pub(super) fn forget(&self, topic: &str, partition: i32, offset: i64) {
        self.lock().refused.retain(|(origin, _), _| {
            origin.topic != topic || origin.partition != partition || origin.offset >= offset
        });
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(offset: i64) -> Origin {
        Origin { topic: "in".to_owned(), partition: 0, offset }
    }

    fn finds(refusals: &Refusals, offset: i64) -> bool {
        refusals.find(&origin(offset), "out", 100).is_some()
    }

    fn with(offsets: &[i64]) -> Refusals {
        let refusals = Refusals::default();
        refusals.begin();
        for offset in offsets {
            refusals.note(origin(*offset), "out".to_owned(), "too large".to_owned(), 100);
        }
        refusals
    }

    #[test]
    fn a_refusal_is_known_until_its_message_is_committed() {
        let refusals = with(&[4, 5]);
        refusals.begin();
        assert_eq!([4, 5, 6].map(|offset| finds(&refusals, offset)), [true, true, false]);
        assert_eq!(refusals.find(&origin(4), "elsewhere", 100), None);
        assert_eq!(refusals.find(&origin(4), "out", 99), None, "it may be small enough");
        refusals.forget("in", 0, 5);
        assert_eq!([4, 5].map(|offset| finds(&refusals, offset)), [false, true]);
    }

    #[test]
    fn what_a_source_has_not_come_across_is_forgotten_with_it() {
        let refusals = with(&[4, 5]);
        refusals.begin();
        assert!(finds(&refusals, 4));
        refusals.begin();
        assert_eq!([4, 5].map(|offset| finds(&refusals, offset)), [true, false]);
    }
}
