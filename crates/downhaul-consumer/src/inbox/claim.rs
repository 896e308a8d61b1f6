//! What an inbox answers.

use std::time::Duration;

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "who claims must know what to do with each")]
pub enum Claim {
    /// The id was not known, or was claimed by one who did not come back in time: process it.
    Fresh(Ticket),
    /// It was processed: do not process it again, acknowledge it.
    Done,
    /// Somebody else works on it: do neither, and look again later.
    Held {
        /// How long the other's lease lasts.
        left: Duration,
    },
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "there is no third answer")]
#[must_use = "a commit may be refused"]
pub enum Commit {
    /// The id is remembered as processed.
    Kept,
    /// The lease ran out, and the claim is no longer this ticket's. Another has taken it over, and
    /// may have processed the message as well.
    Lost,
}

/// A claim that was granted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    scope: String,
    id: String,
    fence: u64,
}

impl Ticket {
    /// Makes a ticket; for stores.
    pub fn new(scope: impl Into<String>, id: impl Into<String>, fence: u64) -> Self {
        Self { scope: scope.into(), id: id.into(), fence }
    }

    /// The consumer that claimed.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// The id that was claimed.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The fencing number: each claim of an id has a greater one than those before.
    ///
    /// A system that the handler writes to can refuse a number that is less than one it has seen,
    /// and so keep out an owner that went on after its lease.
    pub fn fence(&self) -> u64 {
        self.fence
    }
}
