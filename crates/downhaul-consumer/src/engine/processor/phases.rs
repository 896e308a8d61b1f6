//! What is done for each attempt before and after its call: its budget, its context, and what is
//! made of its outcome.

use std::time::{Duration, SystemTime};

use downhaul_context::{Context, TraceContext};
use tokio::time::Instant;

use super::dedupe::Claimed;
use super::{Processor, is_logged, refused};
use crate::broker::Token;
use crate::engine::limits::SETTLE;
use crate::error::{BoxError, PublishError, chain};
use crate::handler::Meta;
use crate::message::{Message, headers};
use crate::observer::Processed;
use crate::publish::Outgoing;
use crate::settlement::{Outcome, Settlement};
use crate::tally::Counters;

/// How far the clocks of publisher and consumer may differ before a deadline counts as passed.
const CLOCK_SKEW: Duration = Duration::from_secs(1);

/// Why there is no sense in handling the message any more, if its deadline has passed.
pub(super) fn expired(message: &Message) -> Option<String> {
    let deadline = message.deadline()?;
    let late = SystemTime::now().duration_since(deadline).ok()?;
    (late > CLOCK_SKEW).then(|| format!("expired: its deadline passed {} s ago", late.as_secs()))
}

/// How long an attempt may take.
pub(super) fn budget(message: &Message, timeout: Duration) -> Duration {
    let Some(deadline) = message.deadline() else { return timeout };
    let left = deadline.duration_since(SystemTime::now()).unwrap_or_default();
    timeout.min(left.saturating_add(CLOCK_SKEW))
}

/// What becomes of a message, as its observer was told.
pub(super) struct Judged {
    pub(super) settlement: Settlement,
    pub(super) error: Option<String>,
    /// Or else it is put off.
    pub(super) is_marked: bool,
    pub(super) is_of_attempt: bool,
}

impl Processor {
    /// The context with what the message brings: its request id, its trace, and the values that are
    /// accepted.
    pub(super) fn identified(&self, ctx: Context, message: &Message) -> Context {
        let (id, headers) = (message.request(), message.headers());
        let state = headers.get(headers::TRACESTATE);
        let ctx = match headers.get(headers::TRACEPARENT).map(|it| TraceContext::parse(it, state)) {
            Some(Ok(trace)) => ctx.with_values((id, trace)),
            Some(Err(_)) | None => ctx.with_value(id),
        };
        let Some(extract) = &self.accepted else { return ctx };
        let found = extract.from_pairs(headers.iter().map(|(name, text)| (name, text.as_bytes())));
        Counters::add(&self.shared.counters.ignored_values, found.rejected());
        found.bind_values(ctx)
    }

    /// Finds out what becomes of a message, remembers it if that is due, and tells the observer.
    pub(super) async fn settle(
        &self,
        lane: &Context,
        ctx: &Context,
        meta: &Meta,
        begun: Instant,
        claimed: Claimed,
        outcome: Outcome,
    ) -> Judged {
        let is_of_attempt = outcome.is_of_attempt;
        let (settlement, error) = self.decide(lane, ctx, meta, outcome).await;
        let is_marked = self.conclude(claimed, &settlement).await;
        let settlement = if is_marked { settlement } else { Settlement::Release };
        let is_logged = error.as_deref().is_some_and(is_logged);
        let error = error.map(|error| chain(error.as_ref()));
        if let Some(error) = &error {
            self.shared.note_error(meta.message.id(), error);
        }
        self.observer.processed(&Processed {
            meta,
            settlement: &settlement,
            error: error.as_deref(),
            is_logged,
            is_again: meta.is_unburied && matches!(settlement, Settlement::DeadLetter { .. }),
            took: begun.elapsed(),
        });
        Judged { settlement, error, is_marked, is_of_attempt }
    }

    /// What really becomes of the message.
    async fn decide(
        &self,
        lane: &Context,
        ctx: &Context,
        meta: &Meta,
        outcome: Outcome,
    ) -> (Settlement, Option<BoxError>) {
        let Outcome { mut settlement, emits, mut error, .. } = outcome;
        let is_over = !matches!(settlement, Settlement::Retry { .. } | Settlement::Release);
        if is_over
            && !emits.is_empty()
            // Boxed, since few emit anything and all would carry it.
            && let Err(failed) = Box::pin(self.emit(ctx, meta.token, emits)).await
        {
            settlement = Settlement::Retry { after: None };
            error = Some(Box::new(failed));
        }
        if let Some(judged) = self.judge(&settlement, error.as_deref()) {
            settlement = judged;
        }
        if let Settlement::Retry { .. } = settlement {
            if lane.is_done() {
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

    /// What the application's classifier makes of an error that the handler did not classify.
    fn judge(
        &self,
        settlement: &Settlement,
        error: Option<&(dyn std::error::Error + Send + Sync + 'static)>,
    ) -> Option<Settlement> {
        let unclassified = *settlement == Settlement::Retry { after: None };
        let classifier = self.classifier.as_ref().filter(|_| unclassified)?;
        classifier.settle(error?)
    }

    /// Publishes all that a handler emits, pipelined, on a context of its own. If some of it fails,
    /// a broker that can takes back the rest.
    async fn emit(
        &self,
        ctx: &Context,
        delivery: Token,
        emits: Vec<Outgoing>,
    ) -> Result<(), PublishError> {
        let emits = emits.into_iter().map(|emitted| emitted.with_outcome_of(delivery));
        let (emitting, _canceller) = ctx.detached().derive().label("emit").timeout(SETTLE).build();
        let emitted = self.publisher.publish_all(&emitting, emits).await;
        if emitted.is_err() {
            // Some of it may have been taken: that is no outcome of what is tried again.
            self.publisher.retract(delivery);
        }
        emitted
    }
}
