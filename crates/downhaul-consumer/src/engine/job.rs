//! [`Job`]: a delivery on its way through the engine, and [`Finished`]: one whose handling is over.

use tokio::time::Instant;

use crate::broker::{Lane, Token, Verdict};
use crate::handler::Meta;
use crate::tally::End;

/// A delivery on its way through the engine.
pub(crate) struct Job {
    pub(crate) ticket: Ticket,
    pub(crate) meta: Meta,
}

impl Job {
    /// The bytes of its payload and headers.
    pub(crate) fn size(&self) -> usize {
        self.meta.message.size()
    }
}

/// What a delivery is settled by, and by what it can be told to come too late.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    pub(crate) token: Token,
    pub(crate) lane: Lane,
    /// Which holding of the lane the delivery belongs to.
    pub(crate) tenure: Tenure,
    /// The hash of its key, where messages of a key are handled one after the other.
    pub(crate) key: Option<u64>,
}

/// Counts how often a lane was opened or lost, over all sources of a consumer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Tenure(pub(crate) u64);

/// A delivery whose handling is over, for now or for good.
pub(crate) struct Finished {
    pub(crate) ticket: Ticket,
    pub(crate) then: Then,
}

/// What comes after an attempt.
pub(crate) enum Then {
    /// It is over.
    End(End),
    /// Another attempt, not before `due`.
    Again { meta: Box<Meta>, due: Instant },
    /// Somebody else has it, or it cannot be settled as it should: looked at again at `due`,
    /// and nothing counts.
    Later { meta: Box<Meta>, due: Instant },
    /// It is given back at `due`.
    Back { meta: Box<Meta>, due: Instant },
}

impl Then {
    /// The same, but no failure if it did not come of an attempt.
    pub(crate) fn of_attempt(self, is_so: bool) -> Self {
        match self {
            Self::End(End::DeadLettered) if !is_so => Self::End(End::Expired),
            then => then,
        }
    }

    /// Whether it is finished for good, and not given back.
    pub(crate) fn is_finished(&self) -> bool {
        matches!(self, Self::End(end) if end.verdict() == Verdict::Ack)
    }

    /// Whether an attempt failed, if one was made.
    pub(crate) fn is_failure(&self) -> Option<bool> {
        match self {
            Self::Again { .. } => Some(true),
            Self::Later { .. } | Self::Back { .. } => None,
            Self::End(end) => end.is_failure(),
        }
    }
}
