//! Hooks where spans and log lines are made.

use std::fmt::Debug;
use std::time::Duration;

use downhaul_context::{Context, RequestId};
use tracing::Span;

use crate::error::PublishErrorKind;
use crate::handler::Meta;
use crate::publish::Outgoing;
use crate::settlement::Settlement;

/// Makes the span of each message that is processed or published, and its log line.
///
/// The default makes a span `message.process` that bears the request id, and one line a message.
/// The glue crate puts OpenTelemetry here; this crate does not know it.
pub trait MessageObserver: Debug + Send + Sync + 'static {
    /// Called before a handler is: returns the context that the handler gets, and the span that it
    /// runs in.
    fn process(&self, ctx: Context, meta: &Meta) -> (Context, Span) {
        let span = tracing::info_span!(
            "message.process",
            request_id = ctx.value::<RequestId>().map(RequestId::as_str).unwrap_or_default(),
            queue = meta.queue().as_str(),
            message_id = meta.message.id(),
        );
        (ctx, span)
    }

    /// Called before a handler of batches is: returns the context that it gets, and the span that
    /// it runs in.
    fn process_batch(&self, ctx: Context, batch: &[Meta]) -> (Context, Span) {
        let queue = batch.first().map_or("", |meta| meta.queue().as_str());
        let span = tracing::info_span!("message.process", queue, messages = batch.len());
        (ctx, span)
    }

    /// Called before a message is published: returns the context whose request id and trace the
    /// message gets, and the span that the publish runs in.
    fn publish(&self, ctx: Context, outgoing: &Outgoing, system: &'static str) -> (Context, Span) {
        let _ = (outgoing, system);
        (ctx, Span::none())
    }

    /// Called inside the span when a message was published, or could not be. Of one that was only
    /// [sent](crate::Publisher::send) it is called when it was handed over to the broker's client,
    /// which is before the broker's answer.
    fn published(&self, publish: &Published<'_>) {
        let _ = publish;
    }

    /// Called inside the span when an attempt at a message is over.
    fn processed(&self, attempt: &Processed<'_>) {
        attempt.log();
    }
}

/// A message that the broker has answered for, or will not.
#[derive(Debug)]
#[non_exhaustive]
pub struct Published<'a> {
    /// What was published, and where.
    pub outgoing: &'a Outgoing,
    /// The messaging system it went to.
    pub system: &'static str,
    /// What is known of it, if it is not known to be with the broker.
    pub error: Option<PublishErrorKind>,
    /// How long it took, from the call to the answer.
    pub took: Duration,
}

/// An attempt at a message that is over.
#[derive(Debug)]
#[non_exhaustive]
pub struct Processed<'a> {
    /// What is known of the delivery.
    pub meta: &'a Meta,
    /// What becomes of the message.
    pub settlement: &'a Settlement,
    /// Why the handler failed, if it did.
    pub error: Option<&'a str>,
    /// Whether the handler has logged the error itself, by `log_once` of a
    /// [`Traced`](downhaul_context::Traced) one: it needs no second line at ERROR.
    pub is_logged: bool,
    /// Whether it is a dead letter that could not be moved to the others before, and is tried again
    /// after each pause: of that there was a line already.
    pub is_again: bool,
    /// How long the attempt took.
    pub took: Duration,
}

impl Processed<'_> {
    /// Writes the line of the attempt, as an observer does that has no other idea of it.
    pub fn log(&self) {
        // Worked out only where somebody listens.
        let took_ms = || u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        let (number, error) = (self.meta.attempt, self.error.unwrap_or_default());
        // A span around that names them does so for all its lines.
        let is_named = |field| {
            let span = Span::current();
            span.metadata().is_some_and(|span| span.fields().field(field).is_some())
        };
        let queue = || (!is_named("queue")).then(|| self.meta.queue().as_str());
        let message_id = || (!is_named("message_id")).then(|| self.meta.message.id());
        // A level is a part of the event's code, so that this cannot be a function.
        macro_rules! failed {
            ($level:ident, $($rest:tt)+) => {
                tracing::$level!(
                    queue = queue(), message_id = message_id(), took_ms = took_ms(),
                    attempt = number, $($rest)+
                )
            };
        }
        match self.settlement {
            Settlement::Ack => {
                tracing::info!(took_ms = took_ms(), attempt = number, "message processed")
            }
            Settlement::Release => {
                tracing::info!(took_ms = took_ms(), attempt = number, "message released")
            }
            Settlement::Retry { .. } => failed!(warn, error, "message failed, trying again"),
            Settlement::DeadLetter { reason } if self.is_again => {
                failed!(debug, reason, "message failed again, to the dead letters");
            }
            Settlement::DeadLetter { reason } if self.is_logged => {
                failed!(warn, reason, "message failed, to the dead letters");
            }
            Settlement::DeadLetter { reason } => {
                failed!(error, reason, "message failed, to the dead letters")
            }
            Settlement::Drop { reason } => failed!(warn, reason, "message dropped"),
        }
    }
}

/// The observer that is there when no other is set.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PlainObserver;

impl MessageObserver for PlainObserver {}
