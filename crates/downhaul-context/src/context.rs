//! [`Context`]: the handle that everything else passes along.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::canceller::Canceller;
use crate::cause::Cause;
use crate::derive::Derive;
use crate::node::Node;
use crate::values::Values;
use crate::wait::Wait;

/// How far a context has come on its way from start to end.
///
/// Levels only rise, and a context is never behind its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(clippy::exhaustive_enums, reason = "three levels are the promise of the crate")]
pub enum Level {
    /// Work goes on.
    Live,
    /// Take nothing new, finish what is begun.
    Draining,
    /// Stop now.
    Done,
}

/// A lifetime, shared by all the work done on behalf of one request, message or service.
///
/// Cloning is cheap and gives another handle to the same lifetime. A `Context` can be waited for
/// and derived from, but not ended: that takes its [`Canceller`].
///
/// # Examples
///
/// ```
/// use downhaul_context::Context;
///
/// async fn fetch(ctx: Context, key: u64) -> Result<u64, downhaul_context::Cause> {
///     ctx.run(async { key * 2 }).await
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let (ctx, canceller) = Context::root();
/// assert_eq!(fetch(ctx.clone(), 21).await.unwrap(), 42);
///
/// canceller.cancel();
/// assert!(fetch(ctx, 21).await.is_err());
/// # }
/// ```
#[derive(Clone)]
pub struct Context {
    pub(crate) node: Arc<Node>,
    pub(crate) values: Values,
}

impl Context {
    /// Starts a new tree and returns its root with the canceller that ends it.
    #[track_caller]
    pub fn root() -> (Self, Canceller) {
        Self::with_canceller(Node::root(Location::caller()), Values::default())
    }

    pub(crate) fn with_canceller(node: Arc<Node>, values: Values) -> (Self, Canceller) {
        let ctx = Self { node, values };
        let canceller = Canceller::new(Arc::clone(&ctx.node));
        (ctx, canceller)
    }

    /// Returns a context that never ends: no canceller, no deadline, no values.
    ///
    /// Meant for tests and for the outermost callers of functions that want a context.
    pub fn background() -> Self {
        Self { node: Node::eternal(), values: Values::default() }
    }

    /// Derives a child with a canceller of its own.
    #[track_caller]
    pub fn child(&self) -> (Self, Canceller) {
        self.derive().build()
    }

    /// Derives a child that ends with a deadline cause after `budget`, or at this context's
    /// deadline if that is sooner.
    ///
    /// A budget too long for the clock, such as [`Duration::MAX`], means no deadline of its own.
    #[track_caller]
    pub fn with_timeout(&self, budget: Duration) -> (Self, Canceller) {
        self.derive().timeout(budget).build()
    }

    /// Derives a child that ends with a deadline cause at `at`, or at this context's deadline if
    /// that is sooner.
    #[track_caller]
    pub fn with_deadline(&self, at: Instant) -> (Self, Canceller) {
        self.derive().deadline(at).build()
    }

    /// Starts to derive a child with a label, a deadline, or both.
    ///
    /// # Examples
    ///
    /// ```
    /// # use downhaul_context::Context;
    /// # use std::time::Duration;
    /// let (query, _canceller) =
    ///     Context::background().derive().label("db.query").timeout(Duration::ZERO).build();
    /// let cause = query.cause().unwrap();
    /// assert!(cause.to_string().starts_with(r#"deadline exceeded: "db.query" budget 0ns"#));
    /// ```
    #[track_caller]
    pub fn derive(&self) -> Derive<'_> {
        Derive::new(self, Location::caller())
    }

    /// Returns a handle to the same lifetime that also carries `value`, found by its type.
    ///
    /// The nearest binding of a type wins. This context itself is not changed.
    ///
    /// # Examples
    ///
    /// ```
    /// # use downhaul_context::Context;
    /// struct Tenant(&'static str);
    ///
    /// let ctx = Context::background().with_value(Tenant("acme"));
    /// let (child, _canceller) = ctx.child();
    /// assert_eq!(child.value::<Tenant>().unwrap().0, "acme");
    /// assert!(child.value::<u32>().is_none());
    /// ```
    #[must_use]
    pub fn with_value<T: Any + Send + Sync>(&self, value: T) -> Self {
        Self { node: Arc::clone(&self.node), values: self.values.with(value) }
    }

    /// Returns the nearest value of type `T` bound on the way from here to the root.
    pub fn value<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.values.get::<T>()
    }

    /// Returns a context with the same values and a lifetime of its own that never ends.
    ///
    /// For work that must outlive the request, such as settling or compensation. Give it a bound at
    /// once: `ctx.detached().with_timeout(budget)`.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self { node: Node::eternal(), values: self.values.clone() }
    }

    /// Returns the level of this context now.
    pub fn level(&self) -> Level {
        self.node.level()
    }

    /// Says whether this context has ended.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.node.ended().is_some()
    }

    /// Says whether this context drains or has ended.
    pub fn is_draining(&self) -> bool {
        self.level() >= Level::Draining
    }

    /// Returns why this context ended, or `None` while it has not.
    pub fn cause(&self) -> Option<Cause> {
        self.node.ended().cloned()
    }

    /// Returns why this context began to drain, or `None` if it never did.
    ///
    /// A context that was cancelled outright never drained.
    pub fn drain_cause(&self) -> Option<Cause> {
        self.node.drain_cause()
    }

    /// Fails if this context has ended; for `?` between two steps of a long computation.
    ///
    /// # Errors
    ///
    /// The [`Cause`] that ended the context.
    pub fn check(&self) -> Result<(), Cause> {
        self.cause().map_or(Ok(()), Err)
    }

    /// Returns when this context ends by its deadline: the earliest of its own and its ancestors'.
    pub fn deadline(&self) -> Option<Instant> {
        self.node.deadline()
    }

    /// Returns the time left until the deadline, zero when it has passed, `None` without one.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline().map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Returns when time alone ends this context: by its deadline or, if it drains, by the end of
    /// the grace, whichever is sooner.
    ///
    /// # Examples
    ///
    /// ```
    /// # use downhaul_context::Context;
    /// # use std::time::Duration;
    /// let (ctx, canceller) = Context::root();
    /// assert_eq!(ctx.ends_at(), None);
    /// canceller.drain(Duration::from_secs(30));
    /// assert!(ctx.ends_at().is_some());
    /// ```
    pub fn ends_at(&self) -> Option<Instant> {
        self.node.due()
    }

    /// Waits until this context ends and returns why.
    ///
    /// Completes at once if it has ended already.
    ///
    /// # Panics
    ///
    /// If the context has a deadline or drains, and there is no tokio runtime with a timer to wait
    /// on.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future takes the waiter out of the tree.
    pub async fn done(&self) -> Cause {
        let mut wait = Wait::new(&self.node, Level::Done);
        poll_fn(|cx| match wait.poll_reached(cx) {
            Poll::Ready(()) => self.cause().map_or(Poll::Pending, Poll::Ready),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Waits until this context drains or ends.
    ///
    /// # Panics
    ///
    /// As [`done`](Self::done).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future takes the waiter out of the tree.
    pub async fn draining(&self) {
        let mut wait = Wait::new(&self.node, Level::Draining);
        poll_fn(|cx| wait.poll_reached(cx)).await;
    }

    /// Runs `future` until it is ready or this context ends, whichever is first.
    ///
    /// A future that is ready wins over a context that has just ended. If the context had ended
    /// before the call, the future is not polled at all.
    ///
    /// # Errors
    ///
    /// The [`Cause`] that ended the context; the future was dropped where it stood.
    ///
    /// # Panics
    ///
    /// As [`done`](Self::done).
    ///
    /// # Cancel safety
    ///
    /// As cancel safe as `future` is.
    ///
    /// # Examples
    ///
    /// ```
    /// # use downhaul_context::{CauseKind, Context};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
    /// let (ctx, _canceller) = Context::background().with_timeout(Duration::from_millis(250));
    /// let cause = ctx.run(std::future::pending::<()>()).await.unwrap_err();
    /// assert_eq!(cause.kind(), CauseKind::Deadline);
    /// # }
    /// ```
    pub async fn run<F: Future>(&self, future: F) -> Result<F::Output, Cause> {
        self.check()?;
        let mut future = pin!(future);
        let mut wait = Wait::new(&self.node, Level::Done);
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            match wait.poll_reached(cx) {
                Poll::Ready(()) => {
                    self.cause().map_or(Poll::Pending, |cause| Poll::Ready(Err(cause)))
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Returns the labels from the root to here, joined by ` > `; empty where nothing is labelled.
    pub fn path(&self) -> String {
        self.node.path()
    }
}

/// Prints the path, the level and the time left; never a value, which may be a secret.
impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("path", &self.path())
            .field("level", &self.level())
            .field("remaining", &self.remaining())
            .finish()
    }
}
