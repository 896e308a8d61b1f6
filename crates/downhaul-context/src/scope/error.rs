//! [`TaskError`]: why a task gave no value. [`Refused`]: why nothing was begun.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::work::{Millis, Work};
use crate::cause::{Cause, Reason};
use crate::chain::find_cause;
use crate::context::Context;
use crate::text::Plain;

/// Any error: what tasks return, so that `?` works on all of them.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Why a scope did not begin what it was asked to.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The scope has ended, for this cause.
    #[error("the scope has ended")]
    Ended(#[source] Cause),
    /// As many tasks run as are allowed.
    #[error("the scope is full: {limit} tasks at once are allowed")]
    #[non_exhaustive]
    Full {
        /// How many are allowed.
        limit: usize,
    },
}

/// Why a task gave no value.
///
/// Its `Display` names the task, the place where it was spawned and how long it ran; the error that
/// it returned is the source.
#[derive(Clone)]
pub struct TaskError(Arc<Inner>);

struct Inner {
    work: Work,
    why: Why,
}

enum Why {
    Failed(Arc<dyn Error + Send + Sync>),
    Cancelled(Arc<dyn Error + Send + Sync>),
    Panicked(String),
    Aborted,
}

/// How a task ended that gave no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TaskErrorKind {
    /// It returned an error.
    Failed,
    /// It returned the cause that ended its context.
    Cancelled,
    /// It panicked.
    Panicked,
    /// It was dropped half-way.
    Aborted,
}

impl TaskError {
    /// What `error` of a task that lived under `ctx` amounts to.
    pub(super) fn returned(work: Work, error: BoxError, ctx: &Context) -> Self {
        let why = match ctx.cause() {
            Some(cause) if stems_from(&*error, &cause) => Why::Cancelled(error.into()),
            _ => Why::Failed(error.into()),
        };
        Self::new(work, why)
    }

    pub(super) fn panicked(work: Work, message: String) -> Self {
        Self::new(work, Why::Panicked(message))
    }

    pub(super) fn aborted(work: Work) -> Self {
        Self::new(work, Why::Aborted)
    }

    fn new(work: Work, why: Why) -> Self {
        Self(Arc::new(Inner { work, why }))
    }

    /// What the scope ends for. Its source is the error that the task gave, or this one.
    pub(super) fn reason(&self) -> Reason {
        let source = match &self.0.why {
            Why::Failed(error) | Why::Cancelled(error) => Arc::clone(error),
            Why::Panicked(_) | Why::Aborted => Arc::new(self.clone()),
        };
        Reason::task_failed(self.0.work.name.clone(), source)
    }

    /// How the task ended.
    pub fn kind(&self) -> TaskErrorKind {
        match self.0.why {
            Why::Failed(_) => TaskErrorKind::Failed,
            Why::Cancelled(_) => TaskErrorKind::Cancelled,
            Why::Panicked(_) => TaskErrorKind::Panicked,
            Why::Aborted => TaskErrorKind::Aborted,
        }
    }

    /// The task, and how old it became.
    pub fn work(&self) -> &Work {
        &self.0.work
    }
}

/// Whether `error` is `cause` or has it as a source. A cause of another context, such as a deadline
/// that the task set itself, is an error like any other.
fn stems_from(error: &(dyn Error + 'static), cause: &Cause) -> bool {
    find_cause(error, &|other| other.is_same(cause)).is_some()
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (work, age) = (&self.0.work, Millis(self.0.work.age));
        match &self.0.why {
            Why::Failed(_) => write!(f, "{work} failed after {age}"),
            Why::Cancelled(_) => write!(f, "{work} was cancelled after {age}"),
            Why::Panicked(message) => {
                write!(f, "{work} panicked after {age}: {}", Plain(message))
            }
            Why::Aborted => write!(f, "{work} was aborted after {age}"),
        }
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.why {
            Why::Failed(error) | Why::Cancelled(error) => write!(f, "TaskError({self}: {error:?})"),
            Why::Panicked(_) | Why::Aborted => write!(f, "TaskError({self})"),
        }
    }
}

impl Error for TaskError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0.why {
            Why::Failed(error) | Why::Cancelled(error) => Some(&**error),
            Why::Panicked(_) | Why::Aborted => None,
        }
    }
}
