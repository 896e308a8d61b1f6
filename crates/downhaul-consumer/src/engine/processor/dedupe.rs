//! Duplicates: claimed before the handler, committed after it, and never the other way round.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Processor;
use crate::engine::job::Then;
use crate::engine::limits::SETTLE;
use crate::error::chain;
use crate::handler::Meta;
use crate::inbox::{Claim, Commit, Inbox, Ticket};
use crate::settlement::Settlement;
use crate::tally::End;

/// How soon a message that another holds is looked at again. The other is done long before its
/// lease is over, unless it died.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What tells duplicates, if anything does.
#[derive(Clone)]
pub(crate) struct Dedupe(Option<Arc<dyn Inbox>>);

/// A message may be handled, under this claim if duplicates are told.
pub(super) struct Claimed(Option<Ticket>);

impl Dedupe {
    pub(crate) fn by(inbox: Option<Arc<dyn Inbox>>) -> Self {
        Self(inbox)
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }
}

impl Processor {
    /// Claims a message for this consumer.
    ///
    /// # Errors
    ///
    /// It must not be handled now; this is what becomes of it.
    pub(super) async fn claim(&self, meta: &Meta) -> Result<Claimed, Then> {
        let Some(inbox) = &self.dedupe.0 else { return Ok(Claimed(None)) };
        let id = meta.message.id();
        match inbox.claim(&self.shared.name, id, self.lease()).await {
            Ok(Claim::Fresh(ticket)) => Ok(Claimed(Some(ticket))),
            Ok(Claim::Done) => Err(Then::End(End::Duplicate)),
            Ok(Claim::Held { left }) => {
                let (meta, due) = (Box::new(meta.clone()), Instant::now() + left.min(LOOK_AGAIN));
                Err(Then::Later { meta, due })
            }
            Err(error) => {
                tracing::error!(message = id, error = chain(&error), "no claim, releasing it");
                Err(Then::End(End::Released))
            }
        }
    }

    /// Commits or gives up a claim, as the message is to be settled. Returns how it is settled
    /// then: a message that was processed and cannot be marked comes again.
    pub(super) async fn conclude(&self, claimed: Claimed, settlement: Settlement) -> Settlement {
        let (Some(inbox), Some(ticket)) = (&self.dedupe.0, claimed.0) else { return settlement };
        let id = ticket.id();
        // A dead letter is not done with: it may be put back into its queue, with the same id.
        if !matches!(settlement, Settlement::Ack | Settlement::Drop { .. }) {
            if let Err(error) = inbox.release(&ticket).await {
                tracing::warn!(message = id, error = chain(&error), "a claim runs out by itself");
            }
            return settlement;
        }
        match inbox.commit(&ticket).await {
            Ok(Commit::Kept) => settlement,
            Ok(Commit::Lost) => {
                tracing::warn!(
                    message = id,
                    "processed after its claim had run out: perhaps twice"
                );
                settlement
            }
            Err(error) => {
                tracing::error!(message = id, error = chain(&error), "not marked, releasing it");
                Settlement::Release
            }
        }
    }

    /// Longer than an attempt can take.
    fn lease(&self) -> Duration {
        self.timeout.saturating_add(self.cancel_grace).saturating_add(2 * SETTLE)
    }
}

impl fmt::Debug for Dedupe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dedupe").field(&self.0).finish()
    }
}
