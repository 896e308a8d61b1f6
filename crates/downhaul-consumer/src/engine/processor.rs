//! [`Processor`]: one message, from its delivery through its attempts to a verdict.

use std::any::Any;
use std::error::Error;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use downhaul_context::{Context, Instant, RequestId, TraceContext};
use futures_util::FutureExt;
use tokio::pin;
use tokio::time::{sleep, timeout};
use tracing::Instrument;

use crate::broker::Delivery;
use crate::engine::limits::SETTLE;
use crate::error::{BoxError, PublishError, PublishErrorKind, chain};
use crate::handler::{Handler, Meta};
use crate::headers;
use crate::message::Message;
use crate::observer::{MessageObserver, Processed};
use crate::publish::Outgoing;
use crate::publisher::Publisher;
use crate::retry::RetryPolicy;
use crate::settlement::{Failure, IntoOutcome, Outcome, Settlement};
use crate::shared::{InFlight, Shared};
use crate::tally::{Counters, End};

/// The longest reason that is written into a dead letter, in bytes.
const LONGEST_REASON: usize = 1024;

pub(crate) struct Processor {
    pub(crate) handler: Handler,
    pub(crate) retry: RetryPolicy,
    pub(crate) timeout: Duration,
    pub(crate) cancel_grace: Duration,
    pub(crate) publisher: Publisher,
    pub(crate) observer: Arc<dyn MessageObserver>,
    pub(crate) queue: Arc<str>,
    pub(crate) dead_letter_queue: String,
    pub(crate) system: &'static str,
    pub(crate) shared: Arc<Shared>,
}

/// What comes after an attempt.
enum Next {
    End(End),
    Again { after: Duration },
}

impl Processor {
    /// Handles a message to its end.
    pub(crate) async fn process(&self, session: &Context, delivery: Delivery) -> End {
        let mut meta = Arc::new(self.meta(delivery));
        let ctx = identified(session, &meta.message);
        let request_id = ctx.value::<RequestId>().cloned().unwrap_or_else(RequestId::generate);
        let _entry = self.shared.enter(InFlight::new(meta.message.id(), request_id));
        loop {
            let (ctx, span) = self.observer.process(ctx.clone(), &meta);
            let attempt = self.attempt(session, &ctx, &meta).instrument(span);
            match attempt.await {
                Next::End(end) => return end,
                Next::Again { after } => {
                    tokio::select! {
                        biased;
                        // Stopping does not wait for a backoff: someone else may try sooner.
                        () = session.draining() => return End::Released,
                        () = sleep(after) => {}
                    }
                    meta = Arc::new(Meta { attempt: meta.attempt + 1, ..Meta::clone(&meta) });
                }
            }
        }
    }

    /// One attempt: call the handler, then settle what it says.
    async fn attempt(&self, session: &Context, ctx: &Context, meta: &Arc<Meta>) -> Next {
        let begun = Instant::now();
        let outcome = self.call(ctx, meta).await;
        let (settlement, error) = self.decide(session, ctx, meta, outcome).await;
        let error = error.map(|error| chain(error.as_ref()));
        let took = begun.elapsed();
        self.observer.processed(&Processed {
            meta,
            settlement: &settlement,
            error: error.as_deref(),
            took,
        });
        self.carry_out(ctx, meta, settlement).await
    }

    /// Calls the handler under its timeout. What it leaves unsaid becomes a failure.
    async fn call(&self, ctx: &Context, meta: &Arc<Meta>) -> Outcome {
        let (ctx, _canceller) = ctx.derive().label("handler").timeout(self.timeout).build();
        let calling = async { self.handler.call(ctx.clone(), Arc::clone(meta)) };
        let handling = async {
            match calling.await {
                Ok(handling) => handling.await,
                Err(error) => Failure::permanent(error).into_outcome(),
            }
        };
        let caught = AssertUnwindSafe(handling).catch_unwind();
        match self.bounded(&ctx, caught).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => Failure::permanent(panic_words(panic.as_ref())).into_outcome(),
            Err(cause) => Failure::from(cause).into_outcome(),
        }
    }

    /// Runs a handler until it returns or, its context having ended, its grace is over and it is
    /// dropped.
    async fn bounded<F: Future>(
        &self,
        ctx: &Context,
        handling: F,
    ) -> Result<F::Output, downhaul_context::Cause> {
        pin!(handling);
        tokio::select! {
            biased;
            output = &mut handling => Ok(output),
            cause = ctx.done() => timeout(self.cancel_grace, handling).await.map_err(|_| cause),
        }
    }

    /// What really becomes of the message, all things considered.
    async fn decide(
        &self,
        session: &Context,
        ctx: &Context,
        meta: &Meta,
        outcome: Outcome,
    ) -> (Settlement, Option<BoxError>) {
        let Outcome { mut settlement, emits, mut error } = outcome;
        if settlement == Settlement::Ack
            && let Err(failed) = self.publish_all(ctx, emits).await
        {
            settlement = Settlement::Retry { after: None };
            error = Some(Box::new(failed));
        }
        if let Settlement::Retry { .. } = settlement {
            if session.is_done() {
                // It failed because we cancelled it: that is not the message's fault.
                settlement = Settlement::Release;
            } else if let Some(refused) = error.as_deref().and_then(refused) {
                settlement = Settlement::DeadLetter { reason: chain(refused) };
            } else if self.retry.is_last(meta.attempt) {
                let last = error.as_deref().map_or_else(String::new, |error| chain(error));
                let reason = format!("failed {} times, the last time: {last}", meta.attempt);
                settlement = Settlement::DeadLetter { reason };
            }
        }
        (settlement, error)
    }

    async fn carry_out(&self, ctx: &Context, meta: &Meta, settlement: Settlement) -> Next {
        match settlement {
            Settlement::Ack => Next::End(End::Acked),
            Settlement::Drop { .. } => Next::End(End::Dropped),
            Settlement::Release => Next::End(End::Released),
            Settlement::DeadLetter { reason } => {
                let letter = self.dead_letter(meta, &reason);
                self.moved(ctx, letter, End::DeadLettered).await
            }
            Settlement::Retry { after } => {
                let delay = after.unwrap_or_else(|| self.retry.delay_after(meta.attempt));
                if self.retry.is_short(delay) {
                    Counters::add(&self.shared.counters.retried, 1);
                    return Next::Again { after: delay };
                }
                let parked = Outgoing::to_queue(&*self.queue, next_attempt(meta)).after(delay);
                self.moved(ctx, parked, End::Parked).await
            }
        }
    }

    /// Publishes the message elsewhere, which is its end here. If that fails it comes again, and
    /// nothing is lost.
    async fn moved(&self, ctx: &Context, outgoing: Outgoing, end: End) -> Next {
        match self.hand_over(ctx, outgoing).await {
            Ok(()) => Next::End(end),
            Err(error) => {
                tracing::error!(error = chain(&error), "could not move the message, releasing it");
                Next::End(End::Released)
            }
        }
    }

    /// Publishes on a context of its own: settling works also when the handler's has ended.
    async fn hand_over(&self, ctx: &Context, outgoing: Outgoing) -> Result<(), PublishError> {
        let (settling, _canceller) =
            ctx.detached().derive().label("settle").timeout(SETTLE).build();
        self.publisher.publish(&settling, outgoing).await
    }

    async fn publish_all(&self, ctx: &Context, emits: Vec<Outgoing>) -> Result<(), PublishError> {
        for outgoing in emits {
            self.hand_over(ctx, outgoing).await?;
        }
        Ok(())
    }

    fn meta(&self, delivery: Delivery) -> Meta {
        let attempt = delivery.message.headers().get(headers::ATTEMPT);
        let attempt = attempt.and_then(|text| text.parse().ok()).unwrap_or(1).max(1);
        let Delivery { message, redelivered, .. } = delivery;
        Meta { message, queue: Arc::clone(&self.queue), system: self.system, attempt, redelivered }
    }

    fn dead_letter(&self, meta: &Meta, reason: &str) -> Outgoing {
        let mut message = meta.message.clone();
        let headers = message.headers_mut();
        headers.set(headers::DEAD_REASON, shortened(reason));
        headers.set(headers::ORIGIN_QUEUE, &*self.queue);
        headers.set(headers::ATTEMPT, meta.attempt.to_string());
        Outgoing::to_queue(&*self.dead_letter_queue, message)
    }
}

/// A child of the session that bears the message's request id and trace. An id that is missing or
/// not valid is replaced.
fn identified(session: &Context, message: &Message) -> Context {
    let headers = message.headers();
    let inbound = headers.get(headers::REQUEST_ID).and_then(|id| RequestId::parse(id).ok());
    let id = inbound.unwrap_or_else(RequestId::generate);
    let state = headers.get(headers::TRACESTATE);
    match headers.get(headers::TRACEPARENT).map(|parent| TraceContext::parse(parent, state)) {
        Some(Ok(trace)) => session.with_values((id, trace)),
        Some(Err(_)) | None => session.with_value(id),
    }
}

/// The error of a publish that no further attempt can mend, if that is why the handler failed.
fn refused<'a>(error: &'a (dyn Error + Send + Sync + 'static)) -> Option<&'a PublishError> {
    let publish = error.downcast_ref::<PublishError>();
    publish.filter(|error| error.kind() == PublishErrorKind::Refused)
}

fn next_attempt(meta: &Meta) -> Message {
    let attempt = meta.attempt.saturating_add(1).to_string();
    meta.message.clone().with_header(headers::ATTEMPT, attempt)
}

fn panic_words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", text.unwrap_or("without words"))
}

fn shortened(reason: &str) -> String {
    let mut end = reason.len().min(LONGEST_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}
