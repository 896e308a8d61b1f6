//! What becomes of a message that has failed: another attempt from here or by way of the broker, or
//! a place with the dead letters.

use std::time::Duration;

use downhaul_context::Context;
use tokio::time::Instant;

use super::Processor;
use super::letters::{self, Said};
use super::phases::Judged;
use crate::engine::job::Then;
use crate::engine::limits::SETTLE;
use crate::error::{PublishError, chain};
use crate::handler::Meta;
use crate::later::later;
use crate::publish::Outgoing;
use crate::retry::Backoff;
use crate::settlement::Settlement;
use crate::tally::{Counters, End};

/// How long a message pauses in hand that was put off, or that is given back again.
const PUT_OFF: Backoff = Backoff::quadrupling(Duration::from_secs(1), Duration::from_secs(60));

impl Processor {
    /// Publishes what has failed, to be tried again or to lie with the dead letters.
    pub(super) async fn carry_out(
        &self,
        lane: &Context,
        ctx: &Context,
        meta: Meta,
        judged: Judged,
    ) -> Then {
        let Judged { settlement, error, is_marked, is_of_attempt } = judged;
        // Boxed where it takes long, since few come there and all would carry it.
        match settlement {
            Settlement::Ack => Then::End(End::Acked),
            Settlement::Drop { .. } => Then::End(End::Dropped),
            Settlement::Release if !is_marked => self.put_off(lane, meta),
            Settlement::Release => self.release(lane, meta),
            Settlement::Retry { after } => Box::pin(self.again(lane, ctx, meta, after)).await,
            Settlement::DeadLetter { reason } => {
                let buried = self.bury(lane, ctx, meta, &reason, error.as_deref());
                Box::pin(buried).await.of_attempt(is_of_attempt)
            }
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
        letters::note_failure(&mut meta);
        let next = meta.attempt.saturating_add(1);
        if !self.can_park(&meta) || (self.retry.is_short(delay) && !lane.is_draining()) {
            return self.keep(meta, next, delay);
        }
        let parked = letters::parked(&meta, next, delay);
        match self.park(ctx, parked, &meta).await {
            true => Then::End(End::Parked),
            false if lane.is_draining() => Then::End(End::Released),
            false => self.keep(meta, next, delay),
        }
    }

    /// Whether a message can wait at the broker for its next attempt.
    pub(crate) fn can_park(&self, meta: &Meta) -> bool {
        let holds_up = self.holds_key && meta.is_in_line;
        self.parks && !holds_up
    }

    /// Waits in hand for the next attempt.
    fn keep(&self, mut meta: Meta, next: u32, delay: Duration) -> Then {
        Counters::add(&self.shared.counters.retried, 1);
        meta.attempt = next;
        Then::Again { meta: Box::new(meta), due: later(Instant::now(), delay) }
    }

    /// Puts the message to the dead letters. While that fails it is put off.
    async fn bury(
        &self,
        lane: &Context,
        ctx: &Context,
        mut meta: Meta,
        reason: &str,
        error: Option<&str>,
    ) -> Then {
        letters::note_failure(&mut meta);
        let buried = self.publish_letter(ctx, &meta, reason, error).await;
        self.note_moved(&buried, &meta);
        self.shared.ways.burying.note(meta.queue(), meta.message.id(), buried.as_ref().err());
        match buried {
            Ok(()) => Then::End(End::DeadLettered),
            Err(_) => {
                meta.is_unburied = true;
                self.put_off(lane, meta)
            }
        }
    }

    /// Publishes the message as a dead letter, which says as much as the broker has room for.
    async fn publish_letter(
        &self,
        ctx: &Context,
        meta: &Meta,
        reason: &str,
        error: Option<&str>,
    ) -> Result<(), PublishError> {
        let mut buried = Ok(());
        for said in Said::LESS_AND_LESS {
            let letter = letters::dead(meta, &self.dead_letter_queue, reason, error, said);
            buried = self.hand_over(ctx, letter).await;
            if buried.is_ok() && said != Said::All {
                let (queue, message_id) = (meta.queue().as_str(), meta.message.id());
                tracing::warn!(queue, message_id, reason, "a dead letter has no room to say all");
            }
            if !buried.as_ref().is_err_and(PublishError::is_of_the_message) {
                break;
            }
        }
        buried
    }

    /// Gives a message to someone again, as its handler wished or since a hook panicked. One that
    /// was delivered before pauses first, lest it goes in circles as fast as the broker can.
    pub(crate) fn release(&self, lane: &Context, meta: Meta) -> Then {
        if meta.redeliveries == 0 || lane.is_draining() {
            return Then::End(End::Released);
        }
        let due = Instant::now() + PUT_OFF.after(meta.redeliveries);
        Then::Back { meta: Box::new(meta), due }
    }

    /// Keeps a message in hand that cannot be settled as it should, to be handled again after
    /// pauses that grow: given back, it would come again at once.
    pub(super) fn put_off(&self, lane: &Context, mut meta: Meta) -> Then {
        if lane.is_draining() {
            return Then::End(End::Released);
        }
        meta.put_off = meta.put_off.saturating_add(1);
        let due = Instant::now() + PUT_OFF.after(meta.put_off);
        Then::Later { meta: Box::new(meta), due }
    }

    /// Gives a message back that waited for its next attempt, which somebody else may make sooner,
    /// by way of the broker: so it keeps the count of its attempts.
    pub(crate) async fn give_back(&self, lane: &Context, meta: Meta, due: Instant) -> Then {
        let delay = due.saturating_duration_since(Instant::now());
        let ctx = self.identified(lane.clone(), &meta.message);
        let parked = letters::parked(&meta, meta.attempt, delay);
        let is_parked = self.park(&ctx, parked, &meta).await;
        // It was counted when it failed.
        Then::End(if is_parked { End::GivenBack } else { End::Released })
    }

    /// Publishes the message to come back later, which is its end here. Returns whether that is
    /// confirmed.
    async fn park(&self, ctx: &Context, parked: Outgoing, meta: &Meta) -> bool {
        let moved = self.hand_over(ctx, parked).await;
        self.note_moved(&moved, meta);
        // One that is too large with its marks waits in hand as well: the way is open to others.
        if !moved.as_ref().is_err_and(PublishError::is_of_the_message) {
            self.shared.ways.parking.note(meta.queue(), meta.message.id(), moved.as_ref().err());
        }
        moved.is_ok()
    }

    fn note_moved(&self, moved: &Result<(), PublishError>, meta: &Meta) {
        let Err(error) = moved else { return };
        // What is handled again may end in another way.
        self.publisher.retract(meta.token);
        let error = chain(error);
        self.shared.note_error(meta.message.id(), &format!("cannot be moved: {error}"));
    }

    /// Publishes on a context of its own: settling works also when the handler's has ended.
    async fn hand_over(&self, ctx: &Context, outgoing: Outgoing) -> Result<(), PublishError> {
        let (settling, _canceller) =
            ctx.detached().derive().label("settle").timeout(SETTLE).build();
        self.publisher.publish(&settling, outgoing).await
    }
}
