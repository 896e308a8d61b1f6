//! Duplicates: claimed before the handler, committed after it, and never the other way round.

use std::time::Duration;

use downhaul_context::Context;
use tokio::time::{Instant, timeout};

use super::Processor;
use crate::engine::job::Then;
use crate::engine::limits::SETTLE;
use crate::error::chain;
use crate::handler::Meta;
use crate::inbox::{Claim, Commit, Ticket};
use crate::settlement::Settlement;
use crate::store::{StoreError, StoreErrorKind};
use crate::tally::End;

/// How soon a message that another holds is looked at again: at the earliest, where a store rounds
/// down what is left of the lease, and at the latest. The other is done long before its lease is
/// over, unless it died.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long an inbox may take to answer. Long, since many messages may come to it at once, and what
/// was processed and is not marked is processed again.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// A message may be handled, under this claim if duplicates are told.
pub(super) struct Claimed(Option<Ticket>);

impl Processor {
    /// Claims a message for this consumer.
    ///
    /// # Errors
    ///
    /// It must not be handled now; this is what becomes of it.
    pub(super) async fn claim(&self, lane: &Context, meta: &Meta) -> Result<Claimed, Then> {
        let Some(inbox) = &self.inbox else { return Ok(Claimed(None)) };
        let id = meta.message.id();
        let claim = in_time(inbox.claim(&self.shared.name, id, self.lease())).await;
        self.note_inbox(id, claim.as_ref().err());
        match claim {
            Ok(Claim::Fresh(ticket)) => Ok(Claimed(Some(ticket))),
            Ok(Claim::Done) => Err(Then::End(End::Duplicate)),
            Ok(Claim::Held { left }) => {
                let due = Instant::now() + left.clamp(LOOK_AGAIN.0, LOOK_AGAIN.1);
                Err(Then::Later { meta: Box::new(meta.clone()), due })
            }
            Err(_) => Err(self.put_off(lane, meta.clone())),
        }
    }

    /// Commits or gives up a claim, as the message is to be settled. Returns whether it may be: one
    /// that was processed and cannot be marked is put off.
    pub(super) async fn conclude(&self, claimed: Claimed, settlement: &Settlement) -> bool {
        let (Some(inbox), Some(ticket)) = (&self.inbox, claimed.0) else { return true };
        let id = ticket.id();
        // A dead letter is not done with: it may be put back into its queue, with the same id.
        if !matches!(settlement, Settlement::Ack | Settlement::Drop { .. }) {
            if let Err(error) = in_time(inbox.release(&ticket)).await {
                tracing::warn!(
                    message_id = id,
                    error = chain(&error),
                    "a claim runs out by itself"
                );
            }
            return true;
        }
        let commit = in_time(inbox.commit(&ticket)).await;
        self.note_inbox(id, commit.as_ref().err());
        if let Ok(Commit::Lost) = commit {
            tracing::warn!(message_id = id, "processed after its claim had run out: perhaps twice");
        }
        commit.is_ok()
    }

    fn note_inbox(&self, id: &str, failed: Option<&StoreError>) {
        if let Some(error) = failed {
            self.shared.note_error(id, &format!("cannot use the inbox: {}", chain(error)));
        }
        self.shared.ways.inbox.note(&self.address.queue, id, failed);
    }

    /// Longer than an attempt can take.
    fn lease(&self) -> Duration {
        self.timeout.saturating_add(self.cancel_grace).saturating_add(2 * SETTLE)
    }
}

/// An inbox that does not answer is as good as away.
async fn in_time<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(ANSWERS_WITHIN, answer).await.unwrap_or_else(|_| {
        let words = format!("the inbox did not answer within {ANSWERS_WITHIN:?}");
        Err(StoreError::new(StoreErrorKind::Failed, words))
    })
}
