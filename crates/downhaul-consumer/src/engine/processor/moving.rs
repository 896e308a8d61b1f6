//! What becomes of a message that has failed: another attempt from here or by way of the broker, or
//! a place with the dead letters.

use std::time::Duration;

use downhaul_context::Context;
use tokio::time::Instant;

use super::{Processor, letters};
use crate::engine::job::Then;
use crate::engine::limits::SETTLE;
use crate::error::{PublishError, chain};
use crate::handler::Meta;
use crate::publish::Outgoing;
use crate::settlement::Settlement;
use crate::tally::{Counters, End};

impl Processor {
    /// Publishes what has failed, to be tried again or to lie with the dead letters.
    pub(super) async fn carry_out(
        &self,
        lane: &Context,
        ctx: Context,
        meta: Meta,
        settlement: Settlement,
        error: Option<String>,
    ) -> Then {
        match settlement {
            Settlement::DeadLetter { reason } => {
                let letter =
                    letters::dead(&meta, &self.dead_letter_queue, &reason, error.as_deref());
                self.moved(&ctx, letter, End::DeadLettered).await
            }
            Settlement::Retry { after } => self.again(lane, &ctx, meta, after).await,
            Settlement::Ack => Then::End(End::Acked),
            Settlement::Drop { .. } => Then::End(End::Dropped),
            Settlement::Release => Then::End(End::Released),
        }
    }

    /// Another attempt: from here, or by way of the broker if it is long until then.
    async fn again(
        &self,
        lane: &Context,
        ctx: &Context,
        mut meta: Meta,
        after: Option<Duration>,
    ) -> Then {
        let delay = after.unwrap_or_else(|| self.retry.delay_after(meta.attempt));
        letters::note_failure(meta.message.headers_mut());
        let next = meta.attempt.saturating_add(1);
        let keyed = self.holds_key && meta.message.key().is_some();
        if keyed || !self.parks || (self.retry.is_short(delay) && !lane.is_draining()) {
            Counters::add(&self.shared.counters.retried, 1);
            meta.attempt = next;
            return Then::Again { meta: Box::new(meta), due: Instant::now() + delay };
        }
        self.moved(ctx, letters::parked(&meta, next, delay), End::Parked).await
    }

    /// Gives a message back that waited for its next attempt, which somebody else may make sooner.
    /// Where the broker can hold it back, it keeps the count of its attempts.
    pub(crate) async fn give_back(&self, lane: &Context, meta: Meta, due: Instant) -> Then {
        let keyed = self.holds_key && meta.message.key().is_some();
        if keyed || !self.parks {
            return Then::End(End::Released);
        }
        let delay = due.saturating_duration_since(Instant::now());
        let ctx = self.identified(lane.clone(), &meta.message);
        let parked = letters::parked(&meta, meta.attempt, delay);
        match self.moved(&ctx, parked, End::Parked).await {
            // It was counted when it failed.
            Then::End(End::Parked) => Then::End(End::GivenBack),
            then => then,
        }
    }

    /// Publishes the message elsewhere, which is its end here. If that fails it comes again, and
    /// nothing is lost.
    async fn moved(&self, ctx: &Context, outgoing: Outgoing, end: End) -> Then {
        match self.hand_over(ctx, outgoing).await {
            Ok(()) => Then::End(end),
            Err(error) => {
                tracing::error!(error = chain(&error), "could not move the message, releasing it");
                Then::End(End::Released)
            }
        }
    }

    /// Publishes on a context of its own: settling works also when the handler's has ended.
    async fn hand_over(&self, ctx: &Context, outgoing: Outgoing) -> Result<(), PublishError> {
        let (settling, _canceller) =
            ctx.detached().derive().label("settle").timeout(SETTLE).build();
        self.publisher.publish(&settling, outgoing).await
    }
}
