//! [`Inbox`]: remembers which messages were processed, so that a duplicate is not processed again.
//!
//! A message is delivered at least once. Who marks its id before the handler has succeeded loses
//! the message when the handler fails, since its next delivery then looks like a duplicate. So an
//! inbox has two phases: an id is *claimed* for a while, and *committed* after success.
//!
//! [`MemoryInbox`] remembers for one process and as long as it lives. `SqliteInbox` (feature
//! `sqlite`) remembers on disk, and can record an id in the same transaction as the effect, which
//! is the one way to have an effect exactly once.

mod claim;
mod memory;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

pub use crate::inbox::claim::{Claim, Commit, Ticket};
pub use crate::inbox::memory::MemoryInbox;
#[cfg(feature = "sqlite")]
pub use crate::inbox::sqlite::SqliteInbox;
use crate::store::StoreError;

/// Remembers ids in two phases: claimed before the work, committed after it.
///
/// Ids are remembered by scope, the name of a consumer: each consumer of a message processes it
/// once. The order of calls, around one attempt at a message:
///
/// 1. [`claim`](Self::claim) before the handler, with a lease longer than the handler may take.
/// 2. [`commit`](Self::commit) after success, before the message is acknowledged.
/// 3. [`release`](Self::release) after a failure, so that the next attempt need not wait.
///
/// Who dies in between says nothing, and the claim runs out with its lease. A consumer drops a call
/// that is not answered within a minute, and takes it for one that has failed.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::inbox::{Claim, Commit, Inbox, MemoryInbox};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let inbox = MemoryInbox::new();
/// let lease = Duration::from_secs(60);
///
/// let Claim::Fresh(ticket) = inbox.claim("inventory", "order-7", lease).await? else {
///     return Err("nobody had it before".into());
/// };
/// // Whoever gets the same message meanwhile knows that it is worked on.
/// let other = inbox.claim("inventory", "order-7", lease).await?;
/// assert!(matches!(other, Claim::Held { left } if left <= lease));
///
/// // … the work …
/// assert_eq!(inbox.commit(&ticket).await?, Commit::Kept);
/// assert_eq!(inbox.claim("inventory", "order-7", lease).await?, Claim::Done);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Inbox: Debug + Send + Sync + 'static {
    /// Claims `id` for the consumer `scope`, unless it is known.
    ///
    /// 1. Of several claims at once, MUST grant one alone
    ///    (`of_many_claims_at_once_one_is_granted`).
    /// 2. MUST NOT say [`Done`](Claim::Done) of an id that was not committed
    ///    (`a_released_claim_is_free_at_once`).
    /// 3. MUST grant an id again once the lease of its claim has run out
    ///    (`a_claim_that_ran_out_is_taken_over_and_its_owner_is_refused`).
    /// 4. MUST give every claim a greater [fence](Ticket::fence) than all earlier ones of the id
    ///    had, also after a release (`fences_of_an_id_only_grow`).
    ///
    /// # Errors
    ///
    /// Whatever keeps the store from knowing. The message must not be processed then: give it back.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, the claim may have been granted; it runs out with its lease.
    async fn claim(&self, scope: &str, id: &str, lease: Duration) -> Result<Claim, StoreError>;

    /// Marks the id of a claim as processed.
    ///
    /// 1. MUST refuse the ticket of a claim that another has taken over, whatever became of that
    ///    one since, and change nothing
    ///    (`a_ticket_is_worth_nothing_after_a_release_and_a_new_claim`).
    /// 2. MUST take a ticket whose lease has run out if nobody has taken it over
    ///    (`a_late_commit_is_kept_if_nobody_took_over`).
    /// 3. MUST answer [`Kept`](Commit::Kept) again when called again, so that it can be repeated
    ///    after an error (`a_commit_can_be_repeated`).
    ///
    /// # Errors
    ///
    /// Whatever keeps the store from it. The work is done and not marked: repeat the call, or
    /// give the message back and let it be done again.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, the id may have been committed or not.
    async fn commit(&self, ticket: &Ticket) -> Result<Commit, StoreError>;

    /// Gives up a claim: the id is free at once. Does nothing if it was committed or taken over.
    ///
    /// # Errors
    ///
    /// Whatever keeps the store from it. The claim then runs out with its lease.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, the claim may be there still; it runs out with its lease.
    async fn release(&self, ticket: &Ticket) -> Result<(), StoreError>;
}
