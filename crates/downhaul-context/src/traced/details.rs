//! [`Details`]: what a traced error tells, with its type and without.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use super::layer::Layer;
use super::print::Printed;
use super::situation::Deadline;
use super::trace::Trace;
use crate::cause::{Cause, CauseKind};
use crate::chain::{chain, find_cause};
use crate::request_id::RequestId;
use crate::trace_context::TraceContext;

/// What a [`Traced`](super::Traced) and a [`TracedError`](super::TracedError) tell.
///
/// `{}` is one line with all of it, `{:#}` and `Debug` are the tree.
// An error with its trace is one allocation, and loses its type without another one.
pub struct Details<E: ?Sized = dyn Error + Send + Sync> {
    pub(super) trace: Trace,
    pub(super) error: E,
}

impl Details {
    /// The layers, from the outermost to the innermost.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.trace.layers()
    }

    /// The request in which it arose.
    pub fn request_id(&self) -> Option<&RequestId> {
        self.trace.situation.request_id.as_ref()
    }

    /// The trace in which it arose: 32 hexadecimal digits.
    pub fn trace_id(&self) -> Option<String> {
        self.trace.situation.trace.as_ref().map(TraceContext::trace_id)
    }

    /// How long the work had run at the first layer, since its first deadline was set. `None`
    /// without a deadline, and where the work was cancelled and its end keeps no times.
    pub fn ran(&self) -> Option<Duration> {
        self.trace.situation.ran
    }

    /// How much time was left at the first layer; `None` without a deadline, and past it.
    pub fn remaining(&self) -> Option<Duration> {
        match self.trace.situation.deadline? {
            Deadline::Ahead(left) => Some(left),
            Deadline::Over(_) => None,
        }
    }

    /// By how much the deadline was over at the first layer.
    pub fn overdue(&self) -> Option<Duration> {
        match self.trace.situation.deadline? {
            Deadline::Ahead(_) => None,
            Deadline::Over(over) => Some(over),
        }
    }

    /// What cut the work short: the cause that the error came of or, if it came of none, what had
    /// ended the context at the first layer.
    pub fn cause(&self) -> Option<&Cause> {
        let situation = &self.trace.situation;
        find_cause(&self.error, &|_| true).or(situation.cause.as_ref())
    }

    /// Whether a deadline cut the work short.
    pub fn is_deadline(&self) -> bool {
        self.cause().is_some_and(|cause| cause.kind() == CauseKind::Deadline)
    }

    /// Whether anything but a deadline cut the work short: somebody cancelled it, or the grace of a
    /// drain was over.
    pub fn is_cancelled(&self) -> bool {
        self.cause().is_some_and(|cause| cause.kind() != CauseKind::Deadline)
    }

    /// The first `T` among the error and its sources.
    pub fn find<T: Error + 'static>(&self) -> Option<&T> {
        chain(&self.error).find_map(|error| error.downcast_ref())
    }

    /// Calls `log`, unless this failure was logged already.
    ///
    /// For a place that must log though others may do so after it, such as one that also returns
    /// the error. What goes out as the answer of an HTTP handler, or ends as a dead letter, is
    /// logged by the server or the consumer, and not again if it was logged in here.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul_context::{Context, Traced};
    /// use std::fmt;
    ///
    /// let error = Traced::new(&Context::background(), "orders.get", fmt::Error);
    /// let mut lines = Vec::new();
    /// error.log_once(|| lines.push(error.to_string()));
    /// error.log_once(|| unreachable!("it was logged"));
    /// assert_eq!(lines.len(), 1);
    /// ```
    pub fn log_once(&self, log: impl FnOnce()) {
        if self.trace.is_first_to_log() {
            log();
        }
    }

    /// Whether this failure was logged: [`log_once`](Self::log_once) has called.
    pub fn is_logged(&self) -> bool {
        self.trace.is_logged()
    }
}

/// The tree where `{:#}` is asked for, else the line.
impl fmt::Display for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let printed = Printed::new(Some(&self.trace), &self.error);
        if f.alternate() { printed.fmt_tree(f) } else { printed.fmt_line(f) }
    }
}

/// The tree.
impl fmt::Debug for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printed::new(Some(&self.trace), &self.error).fmt_tree(f)
    }
}
