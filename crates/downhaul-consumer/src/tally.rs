//! [`Tally`]: how many messages went which way.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::broker::Verdict;

/// How many messages went which way, since the consumer was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Processed, and acknowledged.
    pub acked: u64,
    /// Failed attempts that were or will be followed by another.
    pub retried: u64,
    /// Given up, and put into the dead-letter queue.
    pub dead_lettered: u64,
    /// Given up, and thrown away on the handler's word.
    pub dropped: u64,
    /// Given back unprocessed.
    pub released: u64,
    /// Settled too late, or gone with their lane: the link or the lane was lost, so they come
    /// again.
    pub lost: u64,
    /// Still being handled when the last budget was over; they come again.
    pub abandoned: u64,
    /// Acknowledged without a call of the handler, which had processed them before.
    pub duplicates: u64,
    /// Values of messages that were not valid, and so were left out of contexts. Not messages.
    pub ignored_values: u64,
}

impl Tally {
    /// What was counted since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            acked: self.acked.saturating_sub(before.acked),
            retried: self.retried.saturating_sub(before.retried),
            dead_lettered: self.dead_lettered.saturating_sub(before.dead_lettered),
            dropped: self.dropped.saturating_sub(before.dropped),
            released: self.released.saturating_sub(before.released),
            lost: self.lost.saturating_sub(before.lost),
            abandoned: self.abandoned.saturating_sub(before.abandoned),
            duplicates: self.duplicates.saturating_sub(before.duplicates),
            ignored_values: self.ignored_values.saturating_sub(before.ignored_values),
        }
    }
}

/// The tally as the engine counts it.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) acked: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) dead_lettered: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) released: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) abandoned: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) ignored_values: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) -> Tally {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Tally {
            acked: read(&self.acked),
            retried: read(&self.retried),
            dead_lettered: read(&self.dead_lettered),
            dropped: read(&self.dropped),
            released: read(&self.released),
            lost: read(&self.lost),
            abandoned: read(&self.abandoned),
            duplicates: read(&self.duplicates),
            ignored_values: read(&self.ignored_values),
        }
    }

    /// Counts a message whose verdict the broker has taken.
    pub(crate) fn count(&self, end: End) {
        let counter = match end {
            End::Acked => &self.acked,
            End::DeadLettered | End::Expired => &self.dead_lettered,
            End::Dropped => &self.dropped,
            End::Parked => &self.retried,
            End::Released => &self.released,
            End::GivenBack => return,
            End::Duplicate => &self.duplicates,
        };
        Self::add(counter, 1);
    }

    pub(crate) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// How the handling of a message ended, to be counted once the broker has taken the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Acked,
    DeadLettered,
    /// A dead letter without an attempt.
    Expired,
    Dropped,
    Parked,
    Released,
    Duplicate,
    /// Parked for another attempt while it waited in hand for that.
    GivenBack,
}

impl End {
    /// Whether an attempt failed, if one was made.
    pub(crate) fn is_failure(self) -> Option<bool> {
        match self {
            Self::Acked => Some(false),
            Self::DeadLettered | Self::Parked => Some(true),
            Self::Expired | Self::Dropped | Self::Released | Self::Duplicate | Self::GivenBack => {
                None
            }
        }
    }

    pub(crate) fn verdict(self) -> Verdict {
        match self {
            Self::Acked
            | Self::DeadLettered
            | Self::Expired
            | Self::Dropped
            | Self::Duplicate
            | Self::GivenBack
            | Self::Parked => Verdict::Ack,
            Self::Released => Verdict::Release,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(count: u64) -> Tally {
        Tally {
            acked: count,
            retried: 2 * count,
            dead_lettered: 3 * count,
            dropped: 4 * count,
            released: 5 * count,
            lost: 6 * count,
            abandoned: 7 * count,
            duplicates: 8 * count,
            ignored_values: 9 * count,
        }
    }

    #[test]
    fn what_was_counted_since_is_the_difference_of_each() {
        assert_eq!(tally(10).since(&tally(3)), tally(7));
        assert_eq!(tally(3).since(&tally(10)), Tally::default());
    }

    #[test]
    fn each_end_is_counted_once_and_only_attempts_say_whether_they_failed() {
        let zero = Tally::default();
        let ends = [
            (End::Acked, Tally { acked: 1, ..zero }, Some(false)),
            (End::DeadLettered, Tally { dead_lettered: 1, ..zero }, Some(true)),
            (End::Expired, Tally { dead_lettered: 1, ..zero }, None),
            (End::Dropped, Tally { dropped: 1, ..zero }, None),
            (End::Parked, Tally { retried: 1, ..zero }, Some(true)),
            (End::Released, Tally { released: 1, ..zero }, None),
            (End::Duplicate, Tally { duplicates: 1, ..zero }, None),
            (End::GivenBack, zero, None),
        ];
        for (end, counted, is_failure) in ends {
            let counters = Counters::default();
            counters.count(end);
            assert_eq!((counters.read(), end.is_failure()), (counted, is_failure), "{end:?}");
        }
    }
}
