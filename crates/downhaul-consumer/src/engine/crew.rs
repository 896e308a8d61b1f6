//! [`Crew`]: messages that are being handled.
//!
//! A handler is begun on the engine's own task, and if it is ready at once and has done what it
//! should, that is all. Everything else goes on in a task of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use downhaul_context::Context;
use futures_util::FutureExt;
use smallvec::{SmallVec, smallvec};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::batch::BatchHandler;
use crate::engine::job::{Finished, Job, Then, Ticket};
use crate::engine::lanes::Standing;
use crate::engine::processor::Processor;
use crate::handler::{Handling, Meta};
use crate::tally::End;

/// What a task leaves behind: one message, or those of a batch.
pub(crate) type Ended = SmallVec<[Finished; 1]>;

/// Handlers' panics are caught closer to them. What panics here is a hook: the message comes again.
#[derive(Default)]
pub(crate) struct Crew {
    tasks: JoinSet<Ended>,
    /// How many messages they have.
    messages: usize,
    /// Of a handler that was ready at once, for the next.
    spare: Option<Handling>,
}

impl Crew {
    /// How many are being handled.
    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Begins a message at `now`. Returns when that was done, and the message if it is finished.
    pub(crate) fn begin(
        &mut self,
        processor: &Arc<Processor>,
        lane: &Context,
        job: Job,
        now: Instant,
    ) -> (Instant, Option<Finished>) {
        let (Job { ticket, meta }, mut left) = (job, None);
        let back = Back::of(processor, lane, &meta);
        let in_place = || {
            let mut attempt = processor.prepare(lane, meta, now);
            processor.shared.step(&attempt.meta, now);
            let outcome = processor.first_step(&mut attempt, &mut self.spare);
            let stepped = Instant::now();
            if !outcome.as_ref().is_some_and(|it| processor.is_done(&attempt, it, stepped)) {
                left = Some((attempt, outcome));
            }
            stepped
        };
        let stepped = catch_unwind(AssertUnwindSafe(in_place));
        let then = match (&stepped, left) {
            (Ok(_), None) => Then::End(End::Acked),
            (Ok(_), Some((attempt, outcome))) => {
                let finishing = Arc::clone(processor).finish(lane.clone(), attempt, outcome);
                self.spawn(ticket, back, finishing);
                return (stepped.unwrap_or(now), None);
            }
            (Err(_), _) => back.then(),
        };
        (stepped.unwrap_or(now), Some(Finished { ticket, then }))
    }

    /// Begins a message on a task of its own.
    pub(crate) fn begin_apart(
        &mut self,
        processor: &Arc<Processor>,
        (lane, standing): (Context, Standing),
        job: Job,
        now: Instant,
    ) {
        let Job { ticket, meta } = job;
        let back = Back::of(processor, &lane, &meta);
        let processor = Arc::clone(processor);
        self.spawn(ticket, back, async move {
            // Its link may have been lost before this task had its turn: then it comes again.
            if !standing.holds() {
                return Then::End(End::Released);
            }
            let attempt = processor.prepare(&lane, meta, now);
            processor.finish(lane, attempt, None).await
        });
    }

    /// Begins a batch.
    pub(crate) fn begin_batch(
        &mut self,
        processor: &Arc<Processor>,
        handler: &BatchHandler,
        (lane, standing): (Context, Standing),
        jobs: Vec<Job>,
    ) {
        let back = |job: &Job| (job.ticket, Back::of(processor, &lane, &job.meta));
        let backs: Vec<_> = jobs.iter().map(back).collect();
        self.messages += backs.len();
        let work = Arc::clone(processor).process_batch(handler.clone(), lane, jobs);
        self.tasks.spawn(async move {
            if !standing.holds() {
                return backs.into_iter().map(|(ticket, _)| released(ticket)).collect();
            }
            let ended = AssertUnwindSafe(work).catch_unwind().await;
            let given_back = |(ticket, back): (_, Back)| Finished { ticket, then: back.then() };
            ended.map_or_else(|_| backs.into_iter().map(given_back).collect(), Ended::from_vec)
        });
    }

    /// Parks a message that waited for its next attempt.
    pub(crate) fn give_back(
        &mut self,
        processor: &Arc<Processor>,
        lane: Context,
        job: Job,
        due: Instant,
    ) {
        let Job { ticket, meta } = job;
        let processor = Arc::clone(processor);
        self.spawn(ticket, Back(None), async move { processor.give_back(&lane, meta, due).await });
    }

    fn spawn(
        &mut self,
        ticket: Ticket,
        back: Back,
        work: impl Future<Output = Then> + Send + 'static,
    ) {
        self.messages += 1;
        let finished = move |then: thread::Result<Then>| -> Ended {
            smallvec![Finished { ticket, then: then.unwrap_or_else(|_| back.then()) }]
        };
        // Not in an async block, which would have room for the work twice.
        self.tasks.spawn(AssertUnwindSafe(work).catch_unwind().map(finished));
    }

    /// Waits for what is finished; for ever, if nothing is being handled. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Ended, JoinError> {
        match self.tasks.join_next().await {
            Some(joined) => self.count(joined),
            None => std::future::pending().await,
        }
    }

    /// What is finished by now.
    pub(crate) fn try_next(&mut self) -> Option<Result<Ended, JoinError>> {
        let joined = self.tasks.try_join_next()?;
        Some(self.count(joined))
    }

    fn count(&mut self, joined: Result<Ended, JoinError>) -> Result<Ended, JoinError> {
        self.messages -= joined.as_ref().map_or(0, |ended| ended.len());
        joined
    }

    /// Stops waiting for handlers and returns how many messages were left.
    pub(crate) fn abandon(&mut self) -> usize {
        // Dropped, their tasks are aborted.
        std::mem::take(self).messages
    }
}

/// Gives a message back whose handling was lost with a hook that panicked. One that was delivered
/// before has to pause, and so is kept; boxed, since few are and all would carry it.
struct Back(Option<Box<(Arc<Processor>, Context, Meta)>>);

impl Back {
    fn of(processor: &Arc<Processor>, lane: &Context, meta: &Meta) -> Self {
        let pauses = meta.redeliveries > 0;
        Self(pauses.then(|| Box::new((Arc::clone(processor), lane.clone(), meta.clone()))))
    }

    fn then(self) -> Then {
        let Some(kept) = self.0 else { return Then::End(End::Released) };
        let (processor, lane, meta) = *kept;
        processor.release(&lane, meta)
    }
}

/// A message that was not begun since it can no longer be settled.
fn released(ticket: Ticket) -> Finished {
    Finished { ticket, then: Then::End(End::Released) }
}
