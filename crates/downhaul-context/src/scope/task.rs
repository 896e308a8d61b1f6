//! [`Task`]: the handle to a task of a scope.

use std::fmt;
use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context as TaskContext, Poll};

use tokio::task::JoinHandle;

use super::error::TaskError;
use super::work::Tag;
use crate::canceller::Canceller;

/// A task of a scope, as a future of what it returns.
///
/// The scope waits for the task and reports how it ended, also if nobody asks here. Dropping the
/// handle changes nothing but that the value is lost.
///
/// # Panics
///
/// Polling it again after it was ready panics.
///
/// # Cancel safety
///
/// Cancel safe by reference: in `select!`, wait for `&mut task`.
pub struct Task<T> {
    join: JoinHandle<Result<T, TaskError>>,
    tag: Tag,
    canceller: Weak<Canceller>,
}

impl<T> Task<T> {
    pub(super) fn new(
        join: JoinHandle<Result<T, TaskError>>,
        tag: Tag,
        canceller: Weak<Canceller>,
    ) -> Self {
        Self { join, tag, canceller }
    }

    /// Ends the context of this task alone, and returns whether this call did.
    ///
    /// That it then stops is no failure: the others go on.
    #[track_caller]
    pub fn cancel(&self) -> bool {
        match self.canceller.upgrade() {
            Some(canceller) => canceller.cancel(),
            None => false,
        }
    }
}

/// The error of a task that gave no value says how it ended.
impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        // Panics of the task were caught: what did not come back was dropped.
        let ended = Pin::new(&mut self.join).poll(cx);
        ended.map(|ended| ended.unwrap_or_else(|_| Err(TaskError::aborted(self.tag.work()))))
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("work", &self.tag.work())
            .field("finished", &self.join.is_finished())
            .finish_non_exhaustive()
    }
}
