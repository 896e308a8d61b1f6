//! [`Record`]: one line of the log, and the words that it is made of.

use downhaul_consumer::{PublishError, PublishErrorKind};
use serde::{Deserialize, Serialize};

/// One thing that happened. The order of records in a log is the order of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Record {
    /// A publish is tried. Written before it is, so that a copy that nobody answered for is known.
    Publishing {
        /// The id of the message.
        id: String,
        /// Its key, if it has one.
        key: Option<String>,
        /// Its place among the messages of its key, from 0.
        sequence: u64,
    },
    /// What the publisher was told in the end.
    Published {
        /// The id of the message.
        id: String,
        /// What is known of it.
        outcome: Answer,
    },
    /// A handler begins.
    Began {
        /// The handler, as it was named when it was observed.
        instance: String,
        /// Tells this handling from others of the same instance and process.
        number: u64,
        /// The id of the message.
        id: String,
        /// Its key, if it has one.
        key: Option<String>,
        /// Which attempt it is told to be, from 1.
        attempt: u32,
    },
    /// A handler is over.
    Ended {
        /// As in [`Began`](Self::Began).
        instance: String,
        /// As in [`Began`](Self::Began).
        number: u64,
        /// The id of the message.
        id: String,
        /// How it ended.
        end: End,
    },
    /// A dead letter was found.
    Dead {
        /// The id of the message.
        id: String,
        /// Why it is dead, if it says so.
        reason: Option<String>,
        /// The queue that it comes from, if it says so.
        origin: Option<String>,
    },
    /// Something after which messages may come again.
    Cause(Cause),
}

/// What a publisher knows of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Answer {
    /// The broker has it.
    Confirmed,
    /// The broker refused it.
    Nacked,
    /// It was not sent.
    NotSent,
    /// No queue wanted it.
    Returned,
    /// It was sent and not answered.
    Unknown,
}

impl Answer {
    /// What the result of a publish says.
    pub fn of(result: &Result<(), PublishError>) -> Self {
        match result.as_ref().map_err(PublishError::kind) {
            Ok(()) => Self::Confirmed,
            Err(PublishErrorKind::Nacked) => Self::Nacked,
            Err(PublishErrorKind::NotSent | PublishErrorKind::Refused) => Self::NotSent,
            Err(PublishErrorKind::Returned) => Self::Returned,
            Err(_) => Self::Unknown,
        }
    }

    /// Whether it says that the message is in no queue.
    pub(super) fn is_certainly_nowhere(self) -> bool {
        matches!(self, Self::Nacked | Self::NotSent | Self::Returned)
    }
}

/// How a handling ended, as the handler says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum End {
    /// It is done.
    Acked,
    /// The handler was dropped, or its process died.
    Cut,
    /// It is to become a dead letter.
    DeadLettered,
    /// It is to be thrown away.
    Dropped,
    /// With a failure: the retry policy makes another attempt or a dead letter of it.
    Failed,
    /// The handler panicked.
    Panicked,
    /// It goes back unprocessed.
    Released,
    /// It is to be tried again.
    Retried,
}

impl End {
    /// Whether the message needs no other handler, once the broker knows.
    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::Acked | Self::Dropped)
    }

    /// Whether a dead letter may be made of it. A handler that outlives its timeout is cut, and
    /// that is a failure as well.
    pub(super) fn may_be_dead(self) -> bool {
        matches!(
            self,
            Self::Cut | Self::DeadLettered | Self::Failed | Self::Panicked | Self::Retried
        )
    }
}

/// Why a message may come again, where that does not show in the records of its handling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// The link of a handler instance was lost. What the broker had delivered and not seen settled
    /// comes again. Log it when you make it or at once when you notice it.
    LinkLost {
        /// Whose link.
        instance: String,
        /// How many deliveries may have been unsettled: the prefetch. None where each of them is
        /// named by [`SettlementLost`](Self::SettlementLost).
        unsettled: u32,
    },
    /// The process of a handler instance was killed. What it was handling is over.
    ProcessDied {
        /// Which instance.
        instance: String,
        /// How many deliveries may have been unsettled: the prefetch.
        unsettled: u32,
    },
    /// A publisher that is not observed was not told in time whether a message arrived, and goes on
    /// as if it had not.
    PublishUnanswered {
        /// The id of the message.
        id: String,
    },
    /// A message was given back, and not by its handler.
    Released {
        /// The id of the message.
        id: String,
    },
    /// A message is tried again, and not on the word of its handler.
    Retried {
        /// The id of the message.
        id: String,
    },
    /// A verdict is known not to have arrived.
    SettlementLost {
        /// The id of the message.
        id: String,
    },
}
