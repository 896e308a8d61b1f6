//! Structured concurrency: a [`Scope`] owns tasks, ends them together, waits for them, and names
//! those that do not stop.
//!
//! # Examples
//!
//! ```
//! use downhaul_context::{Context, Scope};
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let (service, _canceller) = Context::root();
//! let import = Scope::new(&service, "import");
//!
//! let rows = import.spawn("rows", |ctx| async move {
//!     let rows = ctx.run(async { 42 }).await?; // ends with its context
//!     Ok(rows)
//! })?;
//! import.spawn("feed", |_ctx| async {
//!     std::future::pending::<()>().await; // never looks at its context: a leak
//!     Ok(())
//! })?;
//! assert_eq!(rows.await?, 42);
//!
//! let report = import.join(Duration::from_secs(5)).await;
//! println!("{report}");
//! // scope "import" made at src/main.rs:6:14: 1 finished, 1 aborted
//! //   task "feed" spawned at src/main.rs:12:8 was aborted after 5.5s
//! assert_eq!(report.aborted[0].name, "feed");
//! # Ok(()) }
//! ```
//!
//! # What is in a scope
//!
//! Tasks, blocking tasks, [holds](Hold) for work that is not a task, and [child
//! scopes](Scope::child) that have any of these. Each has a name, the place in the code where it
//! began, and an age.
//!
//! # How a task ends
//!
//! | it | counts as | and then |
//! |---|---|---|
//! | returns `Ok` | finished | |
//! | returns the cause of its own context, bare or as a source of its error | cancelled | |
//! | returns any other error | failed | the scope's context ends |
//! | panics | panicked | the scope's context ends |
//! | is dropped half-way, by [`join`](Scope::join) or with its runtime | aborted | |
//!
//! The first failure ends the context of the scope, and so all its tasks. Its cause is
//! [`TaskFailed`](crate::CauseKind::TaskFailed): it names the task, has the place where that was
//! spawned, and as its source the error that the task gave or, since a panic gives none, the
//! [`TaskError`]. In a scope that [supervises](Scope::supervise) failures are only reported.
//!
//! # What it keeps
//!
//! Of a task that has ended it keeps a count, and the first 32 failures and 32 cancellations. So a
//! scope may live as long as a server.

mod error;
mod hold;
mod report;
mod running;
mod shared;
mod slot;
mod state;
mod task;
mod work;

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::canceller::Canceller;
use crate::cause::Reason;
use crate::context::Context;

pub use self::error::{BoxError, Refused, TaskError, TaskErrorKind};
pub use self::hold::Hold;
pub use self::report::{Counts, Report};
pub use self::slot::Slot;
pub use self::task::Task;
pub use self::work::{Work, WorkKind};

use self::shared::{Shared, Ticket};
use self::state::State;
use self::work::Tag;

/// How long tasks may take to stop once the context has ended, unless it is set.
const CANCEL_GRACE: Duration = Duration::from_millis(500);

/// How long a join waits for tasks that it aborted. One that stands at an `.await` goes at once.
const ABORT_WAIT: Duration = Duration::from_millis(100);

/// A group of tasks with one lifetime; see the [module](self).
///
/// To share it, put it into an [`Arc`]. A task that spawns others does best to make a scope of its
/// own from its context, and to join it.
///
/// # Dropping
///
/// Dropping a scope ends its context and aborts its tasks, as if they were part of the future that
/// owned it: none goes on past its next `.await`. A blocking task cannot be aborted and goes on
/// until it looks at its context. To wait for the tasks, and to hear of those that do not stop,
/// [`join`](Self::join) first.
pub struct Scope {
    ctx: Context,
    canceller: Arc<Canceller>,
    shared: Arc<Shared>,
    limit: Option<Limit>,
    cancel_grace: Duration,
}

struct Limit {
    tasks: usize,
    free: Arc<Semaphore>,
}

impl Scope {
    /// Makes a scope whose context is a child of `ctx`, labelled `label`.
    #[track_caller]
    pub fn new(ctx: &Context, label: impl Into<Cow<'static, str>>) -> Self {
        Self::within(ctx, None, label.into())
    }

    /// Makes a scope whose context is a child of this one's and whose work counts as work of this
    /// one: this scope has not ended before that work has.
    ///
    /// An idle child holds nobody up. Policy, limit and cancel grace are not inherited, and neither
    /// do failures of the child's tasks end this scope. How they ended is told by a join of the
    /// child alone, also of those that a join of this scope aborted.
    ///
    /// # Examples
    ///
    /// ```
    /// # use downhaul_context::{Context, Scope};
    /// let server = Scope::new(&Context::background(), "server");
    /// let uploads = server.child("uploads").supervise();
    /// let hold = uploads.hold("report.pdf").unwrap();
    /// assert_eq!(server.in_flight()[0].name, "uploads > report.pdf");
    /// drop(hold);
    /// assert!(server.in_flight().is_empty());
    /// ```
    #[track_caller]
    #[must_use]
    pub fn child(&self, label: impl Into<Cow<'static, str>>) -> Self {
        Self::within(&self.ctx, Some(&self.shared), label.into())
    }

    #[track_caller]
    fn within(ctx: &Context, parent: Option<&Arc<Shared>>, label: Cow<'static, str>) -> Self {
        let (ctx, canceller) = ctx.derive().label(label.clone()).build();
        let canceller = Arc::new(canceller);
        let shared = Shared::new(label, Location::caller(), parent.cloned(), &canceller);
        Self { ctx, canceller, shared, limit: None, cancel_grace: CANCEL_GRACE }
    }

    /// Makes failures be reported only, instead of ending the scope.
    #[must_use]
    pub fn supervise(self) -> Self {
        self.shared.lock().supervise = true;
        self
    }

    /// Lets at most `tasks` tasks run at once. Holds do not count.
    ///
    /// Counts the tasks that are spawned from now on, so set it first.
    #[must_use]
    pub fn limit(mut self, tasks: usize) -> Self {
        let free = Arc::new(Semaphore::new(tasks.min(Semaphore::MAX_PERMITS)));
        self.limit = Some(Limit { tasks, free });
        self
    }

    /// Sets how long tasks may take to stop once the context has ended, before a
    /// [`join`](Self::join) aborts them: half a second unless it is set. A task that cleans up
    /// under a [shielded](Context::shielded) context needs its slack.
    #[must_use]
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.cancel_grace = grace;
        self
    }

    /// Returns the context of the scope, of which the contexts of its tasks are children.
    pub fn ctx(&self) -> &Context {
        &self.ctx
    }

    /// Starts a task, with a context of its own that is labelled `name`.
    ///
    /// The task begins even if the context ends before its first step. Its context ends with it.
    /// The returned [`Task`] gives the value; dropping it changes nothing.
    ///
    /// # Errors
    ///
    /// [`Refused::Ended`] if the scope has ended, [`Refused::Full`] if it is at its limit. The task
    /// was not started.
    ///
    /// # Panics
    ///
    /// If there is no tokio runtime.
    #[track_caller]
    pub fn spawn<T, F, Fut>(
        &self,
        name: impl Into<Cow<'static, str>>,
        task: F,
    ) -> Result<Task<T>, Refused>
    where
        T: Send + 'static,
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, BoxError>> + Send + 'static,
    {
        self.try_slot()?.spawn(name, task)
    }

    /// Starts a task on a thread where it may block. It has to look at its context, by
    /// [`is_done`](Context::is_done) or [`check`](Context::check): nothing else can stop it.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    ///
    /// # Panics
    ///
    /// As [`spawn`](Self::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// # use downhaul_context::{Context, Scope};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let scope = Scope::new(&Context::background(), "import");
    /// let sum = scope.spawn_blocking("sum", |ctx| {
    ///     let mut sum = 0;
    ///     for row in 1..=100 {
    ///         ctx.check()?;
    ///         sum += row;
    ///     }
    ///     Ok(sum)
    /// });
    /// assert_eq!(sum.unwrap().await.unwrap(), 5050);
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn_blocking<T, F>(
        &self,
        name: impl Into<Cow<'static, str>>,
        task: F,
    ) -> Result<Task<T>, Refused>
    where
        T: Send + 'static,
        F: FnOnce(Context) -> Result<T, BoxError> + Send + 'static,
    {
        self.try_slot()?.spawn_blocking(name, task)
    }

    /// Waits until the limit leaves room for one more task, and keeps that room for the caller.
    ///
    /// First come, first served. Without a limit it is ready at once.
    ///
    /// # Errors
    ///
    /// [`Refused::Ended`] if the scope has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future gives up the place in the queue.
    ///
    /// # Examples
    ///
    /// ```
    /// # use downhaul_context::{Context, Scope};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let scope = Scope::new(&Context::background(), "connections").limit(2);
    /// for _ in 0..10 {
    ///     let slot = scope.slot().await.unwrap(); // before the next one is accepted
    ///     slot.spawn("connection", |_ctx| async { Ok(()) }).unwrap();
    /// }
    /// let report = scope.join(Duration::from_secs(1)).await;
    /// assert_eq!(report.counts.finished, 10);
    /// # }
    /// ```
    pub async fn slot(&self) -> Result<Slot<'_>, Refused> {
        let Some(limit) = &self.limit else { return Ok(Slot::new(self, None)) };
        let free = Arc::clone(&limit.free).acquire_owned();
        let permit = self.ctx.run(free).await.map_err(Refused::Ended)?;
        // The semaphore is never closed, so there always is a permit.
        Ok(Slot::new(self, permit.ok()))
    }

    fn try_slot(&self) -> Result<Slot<'_>, Refused> {
        let Some(limit) = &self.limit else { return Ok(Slot::new(self, None)) };
        self.ctx.check().map_err(Refused::Ended)?;
        let permit = Arc::clone(&limit.free).try_acquire_owned();
        let permit = permit.map_err(|_| Refused::Full { limit: limit.tasks })?;
        Ok(Slot::new(self, Some(permit)))
    }

    /// Says that work is in flight which is not a task, until the [`Hold`] is dropped.
    ///
    /// A hold can be taken while the scope drains, and also when its context has ended and not all
    /// work has. It reports, but it cannot be stopped.
    ///
    /// # Errors
    ///
    /// [`Refused::Ended`] if the scope has ended with all its work, or a [join](Self::join) has
    /// given up on what is left.
    #[track_caller]
    pub fn hold(&self, name: impl Into<Cow<'static, str>>) -> Result<Hold, Refused> {
        let tag = Tag::new(WorkKind::Hold, name.into(), Location::caller());
        self.enter(tag).map(Hold::new)
    }

    fn enter(&self, tag: Tag) -> Result<Ticket, Refused> {
        self.shared.enter(tag).ok_or_else(|| {
            // Who closed the scope may not have come to ending its context yet.
            self.shared.end();
            Refused::Ended(self.ctx.cause().expect("a closed scope's context has ended"))
        })
    }

    /// Begins to drain: the context drains at once, ends as soon as no work is left, and at the
    /// latest when `grace` is over.
    ///
    /// Spawning and holding go on: what is begun may need them to finish. A second call can only
    /// shorten the grace. [`closed`](Self::closed) and [`join`](Self::join) wait for the end.
    #[track_caller]
    pub fn drain(&self, grace: Duration) {
        self.canceller.drain(grace);
        if self.shared.drain() {
            self.shared.end();
        }
    }

    /// Waits until the context has ended and no work is left. Then none can begin any more.
    ///
    /// It ends by [`drain`](Self::drain), a failure or an ancestor's end; nothing is aborted.
    ///
    /// # Panics
    ///
    /// As [`Context::done`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is lost, call it again.
    pub async fn closed(&self) {
        self.ctx.done().await;
        self.shared.until(State::close_if_empty).await;
    }

    /// Waits until all work has ended, ends the context, and says how it went.
    ///
    /// The work has `budget` to finish, then the context ends. When it has ended, by that or
    /// before, tasks have the [cancel grace](Self::cancel_grace) to stop. What is left then is
    /// aborted, where that is possible, and reported. So it returns soon after `budget` and the
    /// grace, whatever the tasks do; with [`Duration::MAX`] it waits for them. A task that joins
    /// its own scope waits for itself.
    ///
    /// # Panics
    ///
    /// If there is no tokio runtime with a timer.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the scope goes on as it was, and what it has counted is not lost. A context
    /// that was ended stays so. Calling it again starts a new budget.
    #[track_caller]
    pub fn join(&self, budget: Duration) -> impl Future<Output = Report> {
        self.join_for(budget, Location::caller())
    }

    /// # Cancel safety
    ///
    /// As [`join`](Self::join).
    async fn join_for(&self, budget: Duration, site: &'static Location<'static>) -> Report {
        let finished = timeout(budget, self.ctx.run(self.shared.until(State::close_if_empty)));
        if finished.await.is_err() {
            let words = format!("its join budget of {budget:?} is over");
            self.canceller.cancel_for(Reason::cancelled(words), site);
        }
        let stopped = self.shared.until(State::close_if_empty);
        if timeout(self.cancel_grace, stopped).await.is_err() {
            self.shared.abort();
            let aborted = self.shared.until(|state| state.is_aborted());
            // What is left even then is in the report.
            let _ = timeout(ABORT_WAIT, aborted).await;
        }
        self.shared.end();
        let cause = self.ctx.done().await;
        Report::new(&self.shared, cause)
    }

    /// Returns what is in flight now, the oldest first; the work of a child scope after that of its
    /// parent.
    pub fn in_flight(&self) -> Vec<Work> {
        self.shared.in_flight()
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.shared.abort();
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("ctx", &self.ctx)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}
