//! [`Processor`]: one attempt at one message, from its delivery to a verdict.
//!
//! Its phases have one order: expired? → seen before? → decode → handler, under a context of its
//! own → what it emits is confirmed → remembered as seen → settled. So nothing is remembered that
//! did not succeed, and nothing is acknowledged whose emitted messages are not with the broker.

mod attempt;
mod batch;
mod dedupe;
mod letters;
mod moving;
mod phases;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use downhaul_context::wire::Extract;
use downhaul_context::{Context, TracedError, ambient};
use tokio::time::Instant;
use tracing::Instrument;

use crate::batch::unshared;
use crate::engine::handles::Handles;
use crate::engine::job::Then;
pub(crate) use crate::engine::processor::attempt::Attempt;
use crate::error::{PublishError, PublishErrorKind};
use crate::handler::Address;
use crate::inbox::Inbox;
use crate::message::Name;
use crate::observer::{MessageObserver, Processed};
use crate::publisher::Publisher;
use crate::retry::RetryPolicy;
use crate::settlement::{Classifier, Outcome};
use crate::shared::Shared;

pub(crate) struct Processor {
    pub(crate) handles: Handles,
    pub(crate) retry: RetryPolicy,
    pub(crate) classifier: Option<Classifier>,
    /// The values that are read of messages.
    pub(crate) accepted: Option<Extract>,
    /// What tells duplicates, if anything does.
    pub(crate) inbox: Option<Arc<dyn Inbox>>,
    pub(crate) timeout: Duration,
    pub(crate) cancel_grace: Duration,
    pub(crate) publisher: Publisher,
    pub(crate) observer: Arc<dyn MessageObserver>,
    pub(crate) address: Arc<Address>,
    pub(crate) dead_letter_queue: Name,
    /// After how many deliveries of a message, none of which was settled, it is handled alone.
    pub(crate) suspect_after: u32,
    /// Whether the broker can hold a message back.
    pub(crate) parks: bool,
    /// Whether a failed message holds up those of its key behind it until it is done.
    pub(crate) holds_key: bool,
    pub(crate) shared: Arc<Shared>,
}

impl Processor {
    /// Whether an attempt that is ready at once leaves nothing to do but to acknowledge.
    pub(crate) fn is_done(&self, attempt: &Attempt, outcome: &Outcome, now: Instant) -> bool {
        let done = outcome.is_plain_ack();
        if done {
            let _inside = (ambient::enter(&attempt.ctx), attempt.span.enter());
            self.observer.processed(&Processed {
                meta: &attempt.meta,
                settlement: &outcome.settlement,
                error: None,
                is_logged: false,
                is_again: false,
                took: now.saturating_duration_since(attempt.begun),
            });
        }
        done
    }

    /// Brings an attempt to its end, from wherever it is: not begun, waiting, or with an outcome.
    ///
    /// Not an `async fn`, which would have room for its arguments twice.
    pub(crate) fn finish(
        self: Arc<Self>,
        lane: Context,
        mut attempt: Attempt,
        outcome: Option<Outcome>,
    ) -> impl Future<Output = Then> + Send {
        let (span, ctx) = (attempt.span.clone(), attempt.ctx.clone());
        let finishing = async move {
            let claimed = match self.claim(&lane, &attempt.meta).await {
                Ok(claimed) => claimed,
                Err(then) => return then,
            };
            let outcome = match outcome {
                Some(outcome) => outcome,
                None => self.run(&mut attempt).await,
            };
            let Attempt { ctx, meta, begun, .. } = &attempt;
            let judged = self.settle(&lane, ctx, meta, *begun, claimed, outcome).await;
            let Attempt { ctx, meta, .. } = attempt;
            self.carry_out(&lane, &ctx, meta, judged).await
        };
        ambient::within(&ctx, finishing).instrument(span)
    }

    /// Begins what is not begun, and waits for it.
    async fn run(&self, attempt: &mut Attempt) -> Outcome {
        if attempt.is_begun() {
            return self.wait(attempt).await;
        }
        // Its first step may block, and is what hangs then.
        let listed = self.list(attempt);
        let outcome = self.first_step(attempt, &mut None);
        drop(listed);
        match outcome {
            Some(outcome) => outcome,
            None => self.wait(attempt).await,
        }
    }
}

/// Whether the handler has logged why it failed.
fn is_logged(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    TracedError::find(unshared(error)).is_some_and(|traced| traced.is_logged())
}

/// Whether no further attempt can mend why the handler failed.
fn refused<'a>(error: &'a (dyn Error + Send + Sync + 'static)) -> Option<&'a PublishError> {
    let publish = error.downcast_ref::<PublishError>();
    publish.filter(|error| error.kind() == PublishErrorKind::Refused)
}

impl fmt::Debug for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processor").field("queue", &self.address.queue).finish_non_exhaustive()
    }
}
