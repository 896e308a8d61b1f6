//! [`Crew`]: messages that are being handled.
//!
//! A handler is begun on the engine's own task, and if it is ready at once that is all. One that
//! waits goes on in a task of its own. The memory of its future is used again for later ones.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use downhaul_context::Context;
use futures_util::FutureExt;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::ReusableBoxFuture;

use crate::engine::job::{Finished, Job, Then};
use crate::engine::processor::Processor;
use crate::tally::End;

/// Room for the future of one message.
type Slot = ReusableBoxFuture<'static, Finished>;

#[derive(Default)]
pub(crate) struct Crew {
    tasks: JoinSet<(Slot, Finished)>,
    idle: Vec<Slot>,
}

impl Crew {
    /// How many are being handled.
    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Begins a message; returns it if it is finished at once. With `apart`, it has a task from the
    /// start.
    pub(crate) fn begin(
        &mut self,
        processor: &Arc<Processor>,
        ctx: Context,
        job: Job,
        apart: bool,
    ) -> Option<Finished> {
        self.set_going(handle(Arc::clone(processor), ctx, job, Work::Attempt), apart)
    }

    /// Gives back a message that waited for its next attempt; returns it if that is done at once.
    pub(crate) fn give_back(
        &mut self,
        processor: &Arc<Processor>,
        ctx: Context,
        job: Job,
        due: Instant,
    ) -> Option<Finished> {
        self.set_going(handle(Arc::clone(processor), ctx, job, Work::GiveBack { due }), false)
    }

    fn set_going(
        &mut self,
        work: impl Future<Output = Finished> + Send + 'static,
        apart: bool,
    ) -> Option<Finished> {
        let mut slot = self.slot(work);
        if !apart {
            // Nobody has to be woken: the task that takes over polls first.
            let mut nobody = TaskContext::from_waker(Waker::noop());
            if let Poll::Ready(finished) = slot.poll(&mut nobody) {
                self.idle.push(slot);
                return Some(finished);
            }
        }
        self.tasks.spawn(async move {
            let finished = slot.get_pin().await;
            (slot, finished)
        });
        None
    }

    /// Waits for one that is finished; for ever, if none is being handled. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Finished, JoinError> {
        match self.tasks.join_next().await {
            Some(joined) => self.welcome(joined),
            None => std::future::pending().await,
        }
    }

    /// One that is finished by now.
    pub(crate) fn try_next(&mut self) -> Option<Result<Finished, JoinError>> {
        let joined = self.tasks.try_join_next()?;
        Some(self.welcome(joined))
    }

    /// Stops waiting for handlers and returns how many were left.
    pub(crate) fn abandon(&mut self) -> usize {
        let left = self.tasks.len();
        self.tasks.abort_all();
        left
    }

    fn welcome(
        &mut self,
        joined: Result<(Slot, Finished), JoinError>,
    ) -> Result<Finished, JoinError> {
        joined.map(|(slot, finished)| {
            self.idle.push(slot);
            finished
        })
    }

    fn slot<F: Future<Output = Finished> + Send + 'static>(&mut self, future: F) -> Slot {
        match self.idle.pop() {
            Some(mut slot) => {
                slot.set(future);
                slot
            }
            None => Slot::new(future),
        }
    }
}

/// What is done with a message.
enum Work {
    Attempt,
    GiveBack { due: Instant },
}

/// Handlers' panics are caught closer to them. What panics here is a hook: the message comes again.
async fn handle(processor: Arc<Processor>, ctx: Context, job: Job, work: Work) -> Finished {
    let Job { ticket, meta } = job;
    let working = async {
        match work {
            Work::Attempt => processor.process(&ctx, meta).await,
            Work::GiveBack { due } => processor.give_back(&ctx, meta, due).await,
        }
    };
    let then = AssertUnwindSafe(working).catch_unwind().await.unwrap_or(Then::End(End::Released));
    Finished { ticket, then }
}
