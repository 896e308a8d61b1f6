//! [`Crew`]: messages that are being handled.
//!
//! A handler is begun on the engine's own task, and if it is ready at once and has done what it
//! should, that is all. Everything else goes on in a task of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use downhaul_context::Context;
use futures_util::FutureExt;
use smallvec::{SmallVec, smallvec};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::batch::BatchHandler;
use crate::engine::job::{Finished, Job, Then, Ticket};
use crate::engine::lanes::Standing;
use crate::engine::processor::Processor;
use crate::tally::End;

/// What a task leaves behind: one message, or those of a batch.
pub(crate) type Ended = SmallVec<[Finished; 1]>;

/// Handlers' panics are caught closer to them. What panics here is a hook: the message comes again.
#[derive(Default)]
pub(crate) struct Crew {
    tasks: JoinSet<Ended>,
    /// How many messages they have.
    messages: usize,
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
        lane: Context,
        job: Job,
        now: Instant,
    ) -> (Instant, Option<Finished>) {
        let (Job { ticket, meta }, mut left) = (job, None);
        let in_place = || {
            let mut attempt = processor.prepare(&lane, meta, now);
            processor.shared.step(Some((&attempt.meta, now)));
            let outcome = processor.first_step(&mut attempt);
            let stepped = Instant::now();
            if !outcome.as_ref().is_some_and(|it| processor.is_done(&attempt, it, stepped)) {
                left = Some((attempt, outcome));
            }
            stepped
        };
        let stepped = catch_unwind(AssertUnwindSafe(in_place));
        processor.shared.step(None);
        let end = match (&stepped, left) {
            (Ok(_), None) => End::Acked,
            (Ok(_), Some((attempt, outcome))) => {
                let processor = Arc::clone(processor);
                self.spawn(ticket, async move { processor.finish(&lane, attempt, outcome).await });
                return (stepped.unwrap_or(now), None);
            }
            (Err(_), _) => End::Released,
        };
        (stepped.unwrap_or(now), Some(Finished { ticket, then: Then::End(end) }))
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
        let processor = Arc::clone(processor);
        self.spawn(ticket, async move {
            // Its link may have been lost before this task had its turn: then it comes again.
            if !standing.holds() {
                return Then::End(End::Released);
            }
            let attempt = processor.prepare(&lane, meta, now);
            processor.finish(&lane, attempt, None).await
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
        let tickets: Vec<Ticket> = jobs.iter().map(|job| job.ticket).collect();
        self.messages += tickets.len();
        let work = Arc::clone(processor).process_batch(handler.clone(), lane, jobs);
        self.tasks.spawn(async move {
            if !standing.holds() {
                return tickets.into_iter().map(released).collect();
            }
            let ended = AssertUnwindSafe(work).catch_unwind().await;
            ended.map_or_else(|_| tickets.into_iter().map(released).collect(), Ended::from_vec)
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
        self.spawn(ticket, async move { processor.give_back(&lane, meta, due).await });
    }

    fn spawn(&mut self, ticket: Ticket, work: impl Future<Output = Then> + Send + 'static) {
        self.messages += 1;
        self.tasks.spawn(async move {
            let then = AssertUnwindSafe(work).catch_unwind().await;
            let ended = then.map_or_else(|_| released(ticket), |then| Finished { ticket, then });
            smallvec![ended]
        });
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

/// A message whose handling was lost with a hook that panicked.
fn released(ticket: Ticket) -> Finished {
    Finished { ticket, then: Then::End(End::Released) }
}
