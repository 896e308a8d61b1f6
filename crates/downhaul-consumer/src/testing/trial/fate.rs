//! [`Fate`]: what became of a message, attempt by attempt.

use std::time::Duration;

use crate::settlement::Settlement;

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fate {
    /// How it ended.
    pub ending: Ending,
    /// The attempts at it, in the order in which they began.
    pub attempts: Vec<Attempt>,
    /// How long it took from its first delivery, in virtual time.
    pub took: Duration,
}

/// One attempt at a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// Which attempt it was told to be, from 1.
    pub number: u32,
    /// How it ended.
    pub ending: Ending,
    /// The error of the handler and all that lies behind it, if it failed.
    pub error: Option<String>,
    /// How long it took, in virtual time.
    pub took: Duration,
}

/// How a message ended, or an attempt at it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// It was processed.
    Acked,
    /// It is in the dead-letter queue, or is to be.
    DeadLetter {
        /// Why, as its header says.
        reason: String,
    },
    /// It was thrown away.
    Dropped {
        /// Why, as the handler said.
        reason: String,
    },
    /// It was acknowledged without a call of the handler, which had processed it before.
    Duplicate,
    /// It went back unprocessed.
    Released,
    /// Another attempt followed. Only of attempts.
    Retried {
        /// How long it was until that began, in virtual time; `None` if it did not.
        after: Option<Duration>,
    },
    /// It was under way when the message ended, or was dropped half-way. Only of attempts.
    Open,
}

impl Ending {
    /// A dead letter with this reason.
    pub fn dead(reason: impl Into<String>) -> Self {
        Self::DeadLetter { reason: reason.into() }
    }

    /// A message that was thrown away for this reason.
    pub fn dropped(reason: impl Into<String>) -> Self {
        Self::Dropped { reason: reason.into() }
    }

    pub(super) fn of(settlement: &Settlement) -> Self {
        match settlement {
            Settlement::Ack => Self::Acked,
            Settlement::Retry { .. } => Self::Retried { after: None },
            Settlement::DeadLetter { reason } => Self::dead(reason),
            Settlement::Drop { reason } => Self::dropped(reason),
            Settlement::Release => Self::Released,
        }
    }
}
