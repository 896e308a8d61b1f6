//! One call for many messages, and a verdict for each.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use downhaul_context::{Cause, Context, ambient};
use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::time::Instant;
use tracing::Instrument;

use super::attempt::panicked;
use super::dedupe::Claimed;
use super::{Processor, phases};
use crate::batch::{BatchHandler, Call};
use crate::engine::job::{Finished, Job, Then, Ticket};
use crate::handler::Meta;
use crate::in_flight::InFlight;
use crate::settlement::{Failure, IntoOutcome, Outcome, Settlement};

/// A message and what has become of it, if that is known.
struct Item {
    ticket: Ticket,
    meta: Meta,
    claimed: Result<Claimed, Then>,
    outcome: Option<Outcome>,
}

impl Processor {
    /// Handles a batch to its end: a verdict for each message, whatever becomes of the others.
    pub(crate) async fn process_batch(
        self: Arc<Self>,
        handler: BatchHandler,
        lane: Context,
        jobs: Vec<Job>,
    ) -> Vec<Finished> {
        let begun = Instant::now();
        let mut items = join_all(jobs.into_iter().map(|job| self.look_at(&lane, job))).await;
        self.call_batch(&handler, &lane, &mut items, begun).await;
        let settling = items.into_iter().map(|item| self.settle_item(&lane, item, begun));
        join_all(settling).await
    }

    /// Finds out whether a message is to be handled at all.
    async fn look_at(&self, lane: &Context, job: Job) -> Item {
        let Job { ticket, meta } = job;
        let claimed = self.claim(lane, &meta).await;
        let outcome = phases::expired(&meta.message).map(Outcome::expired);
        Item { ticket, meta, claimed, outcome }
    }

    /// Calls the handler with what can be handled, and notes its outcomes.
    async fn call_batch(
        &self,
        handler: &BatchHandler,
        lane: &Context,
        items: &mut [Item],
        begun: Instant,
    ) {
        let mut open: Vec<&mut Item> = items
            .iter_mut()
            .filter(|item| item.claimed.is_ok() && item.outcome.is_none())
            .collect();
        let budget = open.iter().map(|item| phases::budget(&item.meta.message, self.timeout)).min();
        let Some(budget) = budget else { return };
        let derived = lane.derive().label("batch").timeout_since(begun, budget);
        let (ctx, _canceller) = derived.build();
        let metas: Vec<Meta> = open.iter().map(|item| item.meta.clone()).collect();
        let (ctx, span) = self.observer.process_batch(ctx, &metas);
        let _listed: Vec<_> = metas
            .iter()
            .map(|meta| self.shared.enter(InFlight::of(&meta.message, meta.attempt, begun)))
            .collect();
        let count = open.len();
        let calling = AssertUnwindSafe(async { run(handler.call(ctx.clone(), metas)).await });
        let calling = self.within(&ctx, calling.catch_unwind());
        let called = ambient::within(&ctx, calling).instrument(span).await;
        let outcomes = match called {
            Ok(Ok(outcomes)) => outcomes,
            Ok(Err(panic)) => (0..count).map(|_| panicked(panic.as_ref())).collect(),
            Err(cause) => (0..count).map(|_| failed(&cause)).collect(),
        };
        for (item, outcome) in open.iter_mut().zip(outcomes) {
            item.outcome = Some(outcome);
        }
    }

    async fn settle_item(&self, lane: &Context, item: Item, begun: Instant) -> Finished {
        let Item { ticket, meta, claimed, outcome } = item;
        let claimed = match claimed {
            Ok(claimed) => claimed,
            Err(then) => return Finished { ticket, then },
        };
        let outcome = outcome.unwrap_or_else(|| Outcome::new(Settlement::Release));
        let ctx = self.identified(lane.clone(), &meta.message);
        // The span was that of all of them.
        let within = &ctx;
        let settling = async move {
            let judged = self.settle(lane, within, &meta, begun, claimed, outcome).await;
            self.carry_out(lane, within, meta, judged).await
        };
        Finished { ticket, then: ambient::within(within, settling).await }
    }
}

/// Puts the outcomes of a call beside what could not be decoded.
async fn run(call: Call) -> Vec<Outcome> {
    let Call { decoded, handling } = call;
    let outcomes = match handling {
        Some(handling) => handling.await,
        None => Vec::new(),
    };
    let mut outcomes = outcomes.into_iter();
    let mut outcome = |decoded: Result<(), _>| match decoded {
        Ok(()) => outcomes.next().unwrap_or_else(|| Outcome::new(Settlement::Release)),
        Err(error) => Failure::permanent(error).into_outcome(),
    };
    decoded.into_iter().map(&mut outcome).collect()
}

fn failed(cause: &Cause) -> Outcome {
    Failure::from(cause.clone()).into_outcome()
}
