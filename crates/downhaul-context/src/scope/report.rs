//! [`Report`]: how the work of a scope ended, and what did not.

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use super::error::{TaskError, TaskErrorKind};
use super::running::Outcome;
use super::shared::Shared;
use super::work::{Millis, Work, WorkKind};
use crate::cause::Cause;
use crate::chain::chain;
use crate::text::Plain;

/// How many failures, and how many cancellations, are kept in full.
const KEPT: usize = 32;

/// How the work of a scope ended, and what did not; made by [`Scope::join`](super::Scope::join).
///
/// Its `Display` is for people: one line for the whole, and one for each task or hold that did not
/// end well.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The label of the scope.
    pub label: Cow<'static, str>,
    /// Where in the code the scope was made.
    pub location: &'static Location<'static>,
    /// Why the context of the scope ended.
    pub cause: Cause,
    /// How many tasks ended, and how.
    pub counts: Counts,
    /// The tasks that failed or panicked, the first 32 of them. The one that ended the scope is the
    /// first.
    pub errors: Vec<TaskError>,
    /// The tasks that stopped because they were cancelled, the first 32 of them.
    pub cancelled: Vec<TaskError>,
    /// The tasks that were aborted: they did not stop when they were told to.
    pub aborted: Vec<Work>,
    /// What has not ended: tasks that block, holds, and what is left in child scopes.
    pub stragglers: Vec<Work>,
}

/// How many tasks of a scope ended, by how they did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// They returned a value.
    pub finished: u64,
    /// They returned an error.
    pub failed: u64,
    /// They panicked.
    pub panicked: u64,
    /// They returned the cause that ended their context.
    pub cancelled: u64,
    /// They were dropped half-way.
    pub aborted: u64,
}

impl Report {
    pub(super) fn new(shared: &Arc<Shared>, cause: Cause) -> Self {
        let stragglers = shared.in_flight();
        let Tally { counts, errors, cancelled, aborted } = shared.lock().tally.clone();
        let (label, location) = (shared.label.clone(), shared.location);
        Self { label, location, cause, counts, errors, cancelled, aborted, stragglers }
    }

    /// Says whether nothing failed, panicked, had to be aborted or was left behind.
    ///
    /// A task that was cancelled and stopped is no stain.
    pub fn is_clean(&self) -> bool {
        self.errors.is_empty() && self.aborted.is_empty() && self.stragglers.is_empty()
    }

    /// Returns the first failure: the one that ended the scope, if one did.
    pub fn first_error(&self) -> Option<&TaskError> {
        self.errors.first()
    }

    /// Returns the first failure as an error, for `?`.
    ///
    /// # Errors
    ///
    /// The [`first_error`](Self::first_error).
    ///
    /// # Examples
    ///
    /// ```
    /// # use downhaul_context::{Context, Scope};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let scope = Scope::new(&Context::background(), "import");
    /// scope.spawn("rows", |_ctx| async { Err::<(), _>("no such file".into()) }).unwrap();
    /// let result = scope.join(Duration::MAX).await.result();
    /// assert!(result.unwrap_err().to_string().starts_with("task \"rows\" spawned at"));
    /// # }
    /// ```
    pub fn result(&self) -> Result<(), TaskError> {
        self.first_error().cloned().map_or(Ok(()), Err)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { label, location, counts, .. } = self;
        write!(f, "scope {label:?} made at {location}: {counts}")?;
        if !self.stragglers.is_empty() {
            write!(f, ", {} left behind", self.stragglers.len())?;
        }
        for error in &self.errors {
            write!(f, "\n  {error}")?;
            let mut sources = chain(error).skip(1).map(ToString::to_string);
            sources.try_for_each(|source| write!(f, ": {}", Plain(&source)))?;
        }
        fmt_more(f, "failed", counts.failed + counts.panicked, self.errors.len())?;
        self.cancelled.iter().try_for_each(|error| write!(f, "\n  {error}"))?;
        fmt_more(f, "were cancelled", counts.cancelled, self.cancelled.len())?;
        self.aborted
            .iter()
            .try_for_each(|work| write!(f, "\n  {work} was aborted after {}", Millis(work.age)))?;
        self.stragglers.iter().try_for_each(|work| {
            write!(f, "\n  {work} {} after {}", still(work.kind), Millis(work.age))
        })
    }
}

fn fmt_more(f: &mut fmt::Formatter<'_>, how: &str, all: u64, shown: usize) -> fmt::Result {
    match all.saturating_sub(shown as u64) {
        0 => Ok(()),
        more => write!(f, "\n  {more} more {how}"),
    }
}

fn still(kind: WorkKind) -> &'static str {
    match kind {
        WorkKind::Task | WorkKind::Blocking => "still runs",
        WorkKind::Hold => "is still held",
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { finished, failed, panicked, cancelled, aborted } = *self;
        write!(f, "{finished} finished")?;
        let rest = [
            (failed, "failed"),
            (panicked, "panicked"),
            (cancelled, "cancelled"),
            (aborted, "aborted"),
        ];
        let mut rest = rest.into_iter().filter(|(count, _)| *count > 0);
        rest.try_for_each(|(count, how)| write!(f, ", {count} {how}"))
    }
}

/// What a scope keeps of tasks that have ended. Bounded, but for those that were aborted: that
/// happens once, to those that live then.
#[derive(Clone, Default)]
pub(super) struct Tally {
    counts: Counts,
    errors: Vec<TaskError>,
    cancelled: Vec<TaskError>,
    aborted: Vec<Work>,
}

impl Tally {
    /// Returns an error that is not kept: it is not for here, under the lock, to drop it.
    #[must_use]
    pub(super) fn record(&mut self, outcome: Outcome) -> Option<TaskError> {
        match outcome {
            Outcome::Finished => self.counts.finished += 1,
            Outcome::Aborted(tag) => {
                self.counts.aborted += 1;
                self.aborted.push(tag.work());
            }
            Outcome::Error { error, first } => return self.record_error(error, first),
        }
        None
    }

    fn record_error(&mut self, error: TaskError, first: bool) -> Option<TaskError> {
        let (count, kept) = match error.kind() {
            TaskErrorKind::Cancelled => (&mut self.counts.cancelled, &mut self.cancelled),
            TaskErrorKind::Panicked => (&mut self.counts.panicked, &mut self.errors),
            _ => (&mut self.counts.failed, &mut self.errors),
        };
        *count += 1;
        // The one that ended the scope may come after others that failed at the same time.
        kept.insert(if first { 0 } else { kept.len() }, error);
        if kept.len() > KEPT { kept.pop() } else { None }
    }
}
