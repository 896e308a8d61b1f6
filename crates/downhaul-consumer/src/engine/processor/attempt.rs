//! [`Attempt`]: a handler with all that belongs to its call.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context as TaskContext, Poll, Waker};

use downhaul_context::{Canceller, Cause, Context, RequestId, ambient};
use futures_util::FutureExt;
use tokio::pin;
use tokio::time::{Instant, timeout};
use tracing::Span;

use super::{Processor, phases};
use crate::engine::handles::Handles;
use crate::handler::{Handling, Meta};
use crate::in_flight::InFlight;
use crate::panic_text::panic_text;
use crate::settlement::{Failure, IntoOutcome, Outcome, Settlement};
use crate::shared::Entry;

/// One attempt at a message. Dropping it ends the context of its handler.
pub(crate) struct Attempt {
    pub(in crate::engine) meta: Meta,
    /// What the handler gets: with all that the message and the observer bring.
    pub(super) ctx: Context,
    pub(super) begun: Instant,
    pub(super) span: Span,
    /// `None` before it is called.
    handling: Option<Handling>,
    _canceller: Canceller,
}

impl Processor {
    /// Makes all that a handler of this message needs. `lane` is what it lives under.
    pub(crate) fn prepare(&self, lane: &Context, meta: Meta, begun: Instant) -> Attempt {
        let budget = phases::budget(&meta.message, self.timeout);
        let (ctx, canceller) = lane.derive().timeout_since(begun, budget).build();
        let ctx = self.identified(ctx, &meta.message);
        let (ctx, span) = self.observer.process(ctx, &meta);
        Attempt { meta, ctx, begun, span, handling: None, _canceller: canceller }
    }

    /// Calls the handler and polls it once. `None` if it has to wait.
    pub(crate) fn first_step(
        &self,
        attempt: &mut Attempt,
        spare: &mut Option<Handling>,
    ) -> Option<Outcome> {
        if let Some(reason) = phases::expired(&attempt.meta.message) {
            return Some(Outcome::expired(reason));
        }
        let Handles::Singly(handler) = &self.handles else {
            // Nobody begins one of a batch by itself. Else it would come again.
            return Some(Outcome::new(Settlement::Release));
        };
        let _inside = (ambient::enter(&attempt.ctx), attempt.span.enter());
        let (ctx, meta) = (attempt.ctx.clone(), attempt.meta.clone());
        let step = AssertUnwindSafe(|| {
            let mut handling = match handler.call(ctx, meta, spare.take()) {
                Ok(handling) => handling,
                Err(error) => return Ok(Failure::permanent(error).into_outcome()),
            };
            // Nobody has to be woken: the task that takes over polls first.
            let mut nobody = TaskContext::from_waker(Waker::noop());
            match handling.poll(&mut nobody) {
                Poll::Ready(outcome) => {
                    *spare = Some(handling);
                    Ok(outcome)
                }
                Poll::Pending => Err(handling),
            }
        });
        match catch_unwind(step) {
            Ok(Ok(outcome)) => Some(outcome),
            Ok(Err(handling)) => {
                attempt.handling = Some(handling);
                None
            }
            Err(panic) => Some(panicked(panic.as_ref())),
        }
    }

    /// Waits for a handler that was begun; listed as being handled meanwhile. If its context ends,
    /// it has its grace and is then dropped.
    pub(super) async fn wait(&self, attempt: &mut Attempt) -> Outcome {
        let Some(handling) = attempt.handling.take() else {
            return Outcome::new(Settlement::Release);
        };
        let _listed = self.list(attempt);
        match self.within(&attempt.ctx, AssertUnwindSafe(handling).catch_unwind()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => panicked(panic.as_ref()),
            Err(cause) => Failure::from(cause).into_outcome(),
        }
    }

    /// Runs a handler until it returns or, its context having ended, its grace is over.
    pub(super) async fn within<F: Future>(
        &self,
        ctx: &Context,
        handling: F,
    ) -> Result<F::Output, Cause> {
        pin!(handling);
        tokio::select! {
            biased;
            output = &mut handling => Ok(output),
            cause = ctx.done() => timeout(self.cancel_grace, handling).await.map_err(|_| cause),
        }
    }

    /// Lists a message as being handled for as long as the entry lives.
    pub(super) fn list(&self, attempt: &Attempt) -> Entry {
        let id = attempt.ctx.value::<RequestId>().cloned();
        self.shared.enter(InFlight::new(&attempt.meta, id, attempt.begun))
    }
}

impl Attempt {
    pub(super) fn is_begun(&self) -> bool {
        self.handling.is_some()
    }
}

pub(super) fn panicked(panic: &(dyn Any + Send)) -> Outcome {
    Failure::permanent(format!("the handler panicked: {}", panic_text(panic))).into_outcome()
}
