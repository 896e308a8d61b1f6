//! [`IdempotencyStore`]: who remembers keys and answers.

use async_trait::async_trait;
use downhaul_context::Context;

use super::StoredAnswer;
use crate::error::BoxError;

/// Remembers which keys were used, for what, and what was answered.
///
/// [`MemoryStore`](super::MemoryStore) does it for one process. Several that answer for each other
/// need one that they share.
///
/// A claim whose owner is gone without a word, such as a process that was killed, must not last:
/// a store that outlives its clients lets claims run out, after more time than a request can take.
/// Whoever claims the key next has another [owner](Ticket::owner), and the first one's late
/// `keep` and `release` then change nothing.
#[async_trait]
pub trait IdempotencyStore: Send + Sync + 'static {
    /// Claims the key of `ticket` unless it is known: of several at once, one alone is granted.
    ///
    /// # Errors
    ///
    /// Whatever keeps the store from knowing; the request is answered with 503 and not carried out.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, the claim may have been granted; it runs out then.
    async fn claim(&self, ctx: &Context, ticket: &Ticket) -> Result<Claim, BoxError>;

    /// Keeps the answer of a claim that was granted, which is over then.
    ///
    /// # Errors
    ///
    /// Whatever keeps the store from it. The answer goes to the client all the same, the error to
    /// the log, and the key stays claimed.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, the answer may have been kept or not; the claim stays where it was not.
    async fn keep(
        &self,
        ctx: &Context,
        ticket: &Ticket,
        answer: StoredAnswer,
    ) -> Result<(), BoxError>;

    /// Gives up a claim that was granted: the key is new again.
    ///
    /// # Errors
    ///
    /// Whatever keeps the store from it. It goes to the log, and the claim has to run out.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, the claim may be there still; it runs out then.
    async fn release(&self, ticket: &Ticket) -> Result<(), BoxError>;
}

/// What became of a claim.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Claim {
    /// The key was new. Nobody else is granted it until it is kept or released.
    Granted,
    /// The same request is worked on.
    InFlight,
    /// The same request was answered.
    Answered(StoredAnswer),
    /// The key was used for another request.
    OtherRequest,
}

/// What a request claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    key: String,
    fingerprint: String,
    owner: String,
}

impl Ticket {
    pub(super) fn new(key: String, fingerprint: String, owner: String) -> Self {
        Self { key, fingerprint, owner }
    }

    /// The client's key within its [scope](super::Idempotency::scope), as the SHA-256 of both in
    /// 64 hexadecimal digits: it says nothing of either.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The same for every request of the same method, target and body: a SHA-256 in 64 hexadecimal
    /// digits.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Another one for each request.
    pub fn owner(&self) -> &str {
        &self.owner
    }
}
