//! What a broker must do: the traits that a backend implements, as numbered contracts.
//!
//! The engine owns everything that is the same for all brokers: concurrency, retries, dead letters,
//! deadlines, lifecycle, backoff and reconnecting. A backend opens, delivers, settles and
//! publishes; when its link breaks it says so and is opened anew. Each clause names the scenario of
//! the conformance suite that checks it.
//!
//! Two brokers in memory show what they mean: [`MemoryBroker`](crate::MemoryBroker) is made of
//! queues, [`MemoryLog`](crate::MemoryLog) of partitions that move.

mod capabilities;
mod delivery;
mod held;
mod lane;
mod row;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use downhaul_context::Context;

pub use crate::broker::capabilities::Capabilities;
pub use crate::broker::delivery::{Certainty, Delivery, Event, Settled, Token, Verdict};
pub use crate::broker::held::{HeldLane, HeldLanes};
pub use crate::broker::lane::{Lane, Revoking};
pub use crate::broker::row::Row;
use crate::error::BrokerError;
use crate::publish::{Outgoing, Receipt};
use crate::subscription::Subscription;

/// A place that takes messages and gives them to consumers.
///
/// A topic is what publishers name; a queue is what a consumer reads. Each queue gets its own copy
/// of every message published to a topic it is bound to.
#[async_trait]
pub trait Broker: Debug + Send + Sync + 'static {
    /// The name of the messaging system, as in OpenTelemetry's `messaging.system`: `rabbitmq`,
    /// `kafka`, `memory`.
    fn system(&self) -> &'static str;

    /// What it can do that not every broker can. Nothing, unless it says otherwise.
    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    /// Opens a source of deliveries.
    ///
    /// 1. MUST declare the queue, bind it to all topics of `subscription`, and declare its
    ///    dead-letter queue if it [has](Subscription::has_dead_letters) one, before it returns
    ///    (`publishes_before_the_first_delivery_are_kept`,
    ///    `who_looks_at_dead_letters_declares_nothing_for_them`).
    /// 2. MUST NOT have more than `subscription.prefetch()` deliveries unsettled at a time
    ///    (`prefetch_bounds_what_is_unsettled`).
    /// 3. MUST fail with a [permanent](BrokerError::is_permanent) error when trying again cannot
    ///    help, such as bad credentials or a queue that exists with other properties; with any
    ///    other error it is tried again.
    /// 4. MUST give up when `ctx` ends.
    /// 5. A queue that is made later MUST get what was published to its topics before, if the
    ///    broker says that it can [replay](Capabilities::replay)
    ///    (`a_queue_that_is_made_later_gets_what_was_published_before`).
    ///
    /// # Errors
    ///
    /// A [`BrokerError`] that says what to change or what could not be reached.
    ///
    /// # Cancel safety
    ///
    /// The engine drops the call when its consumer stops. What was opened by then MUST go with it,
    /// and what was delivered MUST come again; what was declared may stay.
    async fn source(
        &self,
        ctx: &Context,
        subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError>;

    /// Opens a sink for messages. As for [`source`](Self::source), clauses 3 and 4 apply.
    ///
    /// # Errors
    ///
    /// A [`BrokerError`] that says what to change or what could not be reached.
    ///
    /// # Cancel safety
    ///
    /// A publisher drops the call when the context of its publish ends, and the next publish calls
    /// again. What was opened by then MUST go with it.
    async fn sink(&self, ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError>;

    /// Takes back what sinks were given as [an outcome](Outgoing::outcome_of) of a delivery: its
    /// handling has failed, and is tried again or ends otherwise. Does nothing unless the broker
    /// publishes outcomes together with settlements.
    ///
    /// A broker that does so MUST forget the outcomes also when the delivery is released, and MUST
    /// NOT accept any of a delivery that cannot be settled any more. A broker that stands in front
    /// of another MUST pass this on.
    fn retract(&self, delivery: Token) {
        let _ = delivery;
    }

    /// Lets go of all connections. Called once nothing uses the broker any more; sources and sinks
    /// opened from it fail afterwards.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, what is open MUST go with the broker.
    async fn close(&self, ctx: &Context);
}

/// One open stream of deliveries, owned by one task.
///
/// A source lives as long as its link. After the first error it is dead: it is dropped and a new
/// one is opened.
#[async_trait]
pub trait Source: Send {
    /// Waits until there is at least one event, and appends all that are at hand.
    ///
    /// 1. MUST be cancel safe: an event is either appended or comes again.
    /// 2. MUST deliver again, to this or to another source of the queue, whatever was neither
    ///    acknowledged nor released when a source is dropped or dies
    ///    (`a_lost_link_loses_no_message`).
    /// 3. MUST return an error when the link is lost or the queue is gone; it MUST NOT be silent
    ///    for ever. A source that waits for its broker meanwhile SHOULD tell within a few seconds
    ///    that it does, by [`Event::Away`], and by [`Event::Back`] when it waits no more.
    /// 4. Deliveries of one lane and one key MUST come in the order in which they were published,
    ///    if the broker says that it is [ordered](Capabilities::ordered)
    ///    (`messages_of_a_key_come_in_their_order`).
    /// 5. A lane that goes to another consumer MUST be told of by [`Event::Lost`], or before it
    ///    goes by [`Event::Revoking`]: then it MUST NOT go before that event is dropped, or a time
    ///    of the source's own has passed, which it tells by [`Event::Lost`]
    ///    (`a_lane_that_moves_is_finished_first`). How long that is it SHOULD say by
    ///    [`Revoking::with_budget`], or no retry is waited for.
    /// 6. MUST NOT deliver anything of a lane behind its [`Event::Revoking`], also not what is
    ///    released, until it tells by [`Event::Assigned`] that the lane is its own again: all of it
    ///    is for those who get the lane (`a_lane_that_is_to_go_delivers_nothing_more`).
    /// 7. Tokens of one lane SHOULD count up as its messages lie in it, also where one is
    ///    delivered again: by them the engine knows what comes again with what, if the broker says
    ///    that it has [lanes](Capabilities::lanes)
    ///    (`what_is_finished_of_a_lane_does_not_come_again_when_the_lane_moves`).
    ///
    /// # Errors
    ///
    /// The source is dead.
    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), BrokerError>;

    /// Settles deliveries of this source.
    ///
    /// 1. MUST NOT acknowledge a delivery that is not in `batch`
    ///    (`what_is_unfinished_comes_again_whatever_was_acknowledged_around_it`).
    /// 2. A [`Verdict::Release`] MUST make the message available to consumers again, this one
    ///    included (`a_released_message_comes_again`).
    /// 3. MUST NOT say [`Certainty::Confirmed`] unless the broker has answered.
    /// 4. MUST name as [lost](Settled::lost) what it knows to have come too late, and MUST NOT do
    ///    anything about it at the broker (`a_delivery_is_settled_once`).
    ///
    /// # Errors
    ///
    /// The source is dead, and whether the broker took the batch is unknown: it may come again.
    ///
    /// # Cancel safety
    ///
    /// The engine drops a call that has not returned within 5 s, and the source right after it, as
    /// if it were dead. So it need not be possible to go on, but what of the batch was not settled
    /// MUST come again.
    async fn settle(&mut self, batch: &[(Token, Verdict)]) -> Result<Settled, BrokerError>;

    /// Sets how many deliveries may be unsettled at a time; 0 closes the intake. A source is opened
    /// with the prefetch of its subscription.
    ///
    /// 1. After closing, the broker MUST stop sending; deliveries under way still come through
    ///    [`next`](Self::next), which then SHOULD NOT have to wait for them, and can be settled.
    /// 2. After opening again, deliveries MUST flow as before (`a_paused_consumer_resumes`).
    /// 3. A new bound MUST hold for all that is delivered after this returns
    ///    (`a_prefetch_can_be_changed`).
    ///
    /// # Errors
    ///
    /// The source is dead.
    ///
    /// # Cancel safety
    ///
    /// As for [`settle`](Self::settle).
    async fn set_prefetch(&mut self, prefetch: u16) -> Result<(), BrokerError>;

    /// The lanes that it has, to be looked at from elsewhere while it is used. Asked for once, when
    /// the source is opened: what the source notes in it later is seen. None, unless it says
    /// otherwise; a source that stands in front of another MUST pass this on.
    fn held_lanes(&self) -> HeldLanes {
        HeldLanes::default()
    }

    /// Closes the source after its last settlement, which MUST have reached the broker when this
    /// returns.
    ///
    /// # Errors
    ///
    /// The last settlements may be lost. How many finished messages come again, if that is known,
    /// is in [`BrokerError::come_again`].
    ///
    /// # Cancel safety
    ///
    /// The engine drops the call when `ctx` ends, and takes the last settlements for lost. The link
    /// MUST go all the same, and what is not settled come again.
    async fn close(self: Box<Self>, ctx: &Context) -> Result<(), BrokerError>;
}

/// One open way to publish, shared by all publishers of a broker.
#[async_trait]
pub trait Sink: Debug + Send + Sync + 'static {
    /// Hands a message to the broker and returns a receipt for its answer.
    ///
    /// 1. MUST NOT wait for the broker's answer, so that sends can follow each other; MAY wait for
    ///    room in a window.
    /// 2. The receipt MUST resolve, at the latest when the link is lost, and MUST NOT say
    ///    [`Confirmed`](crate::PublishOutcome::Confirmed) unless the broker has answered for every
    ///    queue that the message was routed to. An [outcome](Outgoing::outcome_of) of a delivery
    ///    may be confirmed as soon as it is certain that the delivery comes again unless the broker
    ///    takes both, the message and the settlement.
    /// 3. A message that no queue takes MUST be [`Returned`](crate::PublishOutcome::Returned);
    ///    where topics keep messages for queues to come, one to a topic that does not exist
    ///    (`a_message_no_queue_wants_is_returned`).
    /// 4. MUST hold back a message with a delay for at least that long
    ///    (`a_delayed_message_comes_later`).
    /// 5. MUST be cancel safe: a call that is dropped before it returns has sent nothing.
    /// 6. A message that is too large, or cannot be sent for something else in it, MUST be in no
    ///    queue, and the error or [`Refused`](crate::PublishOutcome::Refused) be of the kind
    ///    [`Message`](crate::BrokerErrorKind::Message), so that the engine can leave out what it
    ///    has added (`a_message_as_large_as_there_can_be_becomes_a_dead_letter`).
    /// 7. MUST carry id, key, media type, headers and payload as they are
    ///    (`a_message_arrives_as_it_was_published`), also those that are no text
    ///    (`what_is_no_text_is_kept_by_retries_and_dead_letters`).
    ///
    /// # Errors
    ///
    /// The message was not sent and the sink is dead, unless the error is
    /// [about the message](BrokerError::is_permanent).
    async fn send(&self, outgoing: &Outgoing) -> Result<Receipt, BrokerError>;

    /// As [`send`](Self::send), with all its clauses, if that can be done without waiting: then no
    /// future has to be made. `None` if it cannot, and the message was not sent: `send` is called.
    fn try_send(&self, outgoing: &Outgoing) -> Option<Result<Receipt, BrokerError>> {
        let _ = outgoing;
        None
    }

    /// Why the broker takes no messages now, if it has said so: it stands in the error of a publish
    /// whose context ends meanwhile, which else could name no more than a deadline.
    fn hindrance(&self) -> Option<BrokerError> {
        None
    }

    /// Closes the sink; receipts that are still open resolve as unknown.
    ///
    /// # Cancel safety
    ///
    /// Dropped half-way, it closes by itself, and its receipts MUST resolve all the same.
    async fn close(&self, ctx: &Context);
}
