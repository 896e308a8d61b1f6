//! [`Running`]: a task from its start to its end. [`Tracked`] and [`Job`] run it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use tokio::sync::OwnedSemaphorePermit;

use super::error::{BoxError, TaskError, TaskErrorKind};
use super::shared::Ticket;
use super::work::Tag;
use crate::canceller::Canceller;
use crate::context::Context;

/// How a task ended, for the report.
pub(super) enum Outcome {
    Finished,
    /// It gave no value; `first` if that is why the scope's context ended.
    Error {
        error: TaskError,
        first: bool,
    },
    Aborted(Tag),
}

/// Tells the scope how a task ended, also of one that is dropped half-way.
pub(super) struct Running {
    tag: Tag,
    ctx: Context,
    outcome: Option<Outcome>,
    // Dropped in this order: the context has ended, and what the task was has gone, before the
    // scope lets go of it; and only then there is room for the next.
    _canceller: Arc<Canceller>,
    ticket: Ticket,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Running {
    pub(super) fn new(
        tag: Tag,
        ctx: Context,
        canceller: Arc<Canceller>,
        (ticket, permit): (Ticket, Option<OwnedSemaphorePermit>),
    ) -> Self {
        Self { tag, ctx, outcome: None, _canceller: canceller, ticket, _permit: permit }
    }

    pub(super) fn ctx(&self) -> &Context {
        &self.ctx
    }

    /// Takes what the task returned, or the message of its panic.
    fn finish<T>(mut self, ended: Result<Result<T, BoxError>, String>) -> Result<T, TaskError> {
        let error = match ended {
            Ok(Ok(value)) => {
                self.outcome = Some(Outcome::Finished);
                return Ok(value);
            }
            Ok(Err(error)) => TaskError::returned(self.tag.work(), error, &self.ctx),
            Err(message) => TaskError::panicked(self.tag.work(), message),
        };
        let first = error.kind() != TaskErrorKind::Cancelled && self.ticket.shared().fail(&error);
        self.outcome = Some(Outcome::Error { error: error.clone(), first });
        Err(error)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let outcome = self.outcome.take();
        let outcome = outcome.unwrap_or_else(|| Outcome::Aborted(self.tag.clone()));
        let unkept = self.ticket.shared().lock().tally.record(outcome);
        drop(unkept);
    }
}

/// An async task.
pub(super) struct Tracked<T> {
    // Dropped in this order: the scope must not end with a part of the task alive. A future that is
    // ready, or panicked, has nothing left: it is an async block.
    future: Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>,
    running: Option<Running>,
}

impl<T> Tracked<T> {
    pub(super) fn new<F, Fut>(running: Running, task: F) -> Self
    where
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, BoxError>> + Send + 'static,
    {
        let ctx = running.ctx().clone();
        Self { future: Box::pin(async move { task(ctx).await }), running: Some(running) }
    }
}

impl<T> Future for Tracked<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let ended = match caught(|| self.future.as_mut().poll(cx)) {
            Ok(polled) => Ok(ready!(polled)),
            Err(message) => Err(message),
        };
        match self.running.take() {
            Some(running) => Poll::Ready(running.finish(ended)),
            None => Poll::Pending,
        }
    }
}

/// A blocking task.
pub(super) struct Job<F> {
    // Dropped in this order, as in `Tracked`.
    task: F,
    running: Running,
}

impl<F> Job<F> {
    pub(super) fn new(running: Running, task: F) -> Self {
        Self { task, running }
    }

    pub(super) fn run<T>(self) -> Result<T, TaskError>
    where
        F: FnOnce(Context) -> Result<T, BoxError>,
    {
        let Self { task, running } = self;
        let ctx = running.ctx().clone();
        let ended = caught(|| task(ctx));
        running.finish(ended)
    }
}

/// Runs `f`; a panic becomes its message.
fn caught<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    // Whatever a panic left half-done is not looked at again, only dropped.
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| message(&*panic).to_owned())
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}
