//! [`Context`]: the handle that everything else passes along.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::canceller::Canceller;
use crate::cause::{Cause, Reason};
use crate::derive::Derive;
use crate::listener::{Ending, Foreign, Listener};
use crate::node::Node;
use crate::opted_in::WireValue;
use crate::registration::Registration;
use crate::run::Run;
use crate::snapshot::Snapshot;
use crate::values::{ValueTuple, Values};
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

/// What it changes is behind locks that no panic leaves half way, and its values are only lent.
impl UnwindSafe for Context {}

/// As [`UnwindSafe`].
impl RefUnwindSafe for Context {}

impl Context {
    /// Starts a new tree and returns its root with the canceller that ends it.
    #[track_caller]
    pub fn root() -> (Self, Canceller) {
        Self::with_canceller(Node::tree(Location::caller()), Values::default())
    }

    pub(crate) fn with_canceller(node: Arc<Node>, values: Values) -> (Self, Canceller) {
        let ctx = Self { node, values };
        let canceller = Canceller::new(Arc::clone(&ctx.node));
        (ctx, canceller)
    }

    /// Returns a context that never ends: no canceller, no deadline, no values.
    ///
    /// Meant for tests and for the outermost callers of functions that want a context.
    #[track_caller]
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

    /// Returns a handle to the same lifetime that also carries each of `values`, found by its type:
    /// a tuple of one to eight, bound in one allocation.
    ///
    /// As if [`with_value`](Self::with_value) had bound one after the other: of two of the same
    /// type, the later is found.
    ///
    /// # Examples
    ///
    /// ```
    /// # use downhaul_context::Context;
    /// # #[derive(Debug, PartialEq)]
    /// struct Tenant(&'static str);
    /// # #[derive(Debug, PartialEq)]
    /// struct Attempt(u32);
    ///
    /// let ctx = Context::background().with_values((Tenant("acme"), Attempt(1)));
    /// assert_eq!(ctx.value(), Some(&Tenant("acme")));
    /// assert_eq!(ctx.value(), Some(&Attempt(1)));
    /// ```
    #[must_use]
    pub fn with_values(&self, values: impl ValueTuple) -> Self {
        values.bind(self)
    }

    /// As [`with_value`](Self::with_value), for a value that may cross to another process and be
    /// printed with the context.
    #[must_use]
    pub fn with_wire_value<T: WireValue>(&self, value: T) -> Self {
        Self { node: Arc::clone(&self.node), values: self.values.with_opted_in(value) }
    }

    /// Returns the nearest value of type `T` bound on the way from here to the root.
    #[inline]
    pub fn value<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.values.get::<T>()
    }

    /// Returns a handle to the same lifetime, with the values of `other` in place of its own.
    ///
    /// # Examples
    ///
    /// ```
    /// # use downhaul_context::Context;
    /// # use std::time::Duration;
    /// let (service, _canceller) = Context::root();
    /// let (request, canceller) = service.child();
    /// let request = request.with_value("acme");
    /// // Values of the request, and the lifetime of the service.
    /// let settling = service.with_values_of(&request);
    /// canceller.cancel();
    /// assert_eq!((settling.value::<&str>(), settling.is_done()), (Some(&"acme"), false));
    /// ```
    #[must_use]
    pub fn with_values_of(&self, other: &Self) -> Self {
        Self { node: Arc::clone(&self.node), values: other.values.clone() }
    }

    /// Returns a context with the same values and a lifetime of its own that never ends.
    ///
    /// For work that must outlive the request, such as settling or compensation. Give it a bound at
    /// once: `ctx.detached().with_timeout(budget)`.
    #[track_caller]
    #[must_use]
    pub fn detached(&self) -> Self {
        Self { node: Node::eternal(), values: self.values.clone() }
    }

    /// Derives a child that also ends, drains and runs out of time with `other`: whichever of its
    /// two parents is first.
    ///
    /// Its values are those of this context. Nothing of it is left behind in `other` when it is
    /// dropped, and no task is spawned. An end of this context is the child's at once. An end of
    /// `other` is told to the child before the call that ends `other` returns, or, where the child
    /// is just being told of an earlier change of `other`, right after that.
    ///
    /// Contexts that are each merged with the one before end and drop by recursion: keep such a row
    /// below a thousand.
    ///
    /// # Examples
    ///
    /// ```
    /// # use downhaul_context::{CauseKind, Context, Reason};
    /// let (service, stop) = Context::root();
    /// let (request, _request) = Context::root();
    /// let (both, _both) = request.merged(&service);
    /// stop.cancel_with(Reason::signal("SIGTERM"));
    /// assert_eq!(both.cause().unwrap().kind(), CauseKind::Signal);
    /// assert!(!request.is_done());
    /// ```
    #[track_caller]
    #[must_use]
    pub fn merged(&self, other: &Self) -> (Self, Canceller) {
        let node = Node::merged(&self.node, &other.node, Location::caller());
        Self::with_canceller(node, self.values.clone())
    }

    /// Derives a context with the same values that outlives this one by `slack` at most: when this
    /// one ends, it drains, and it ends `slack` later. When this one drains, it drains as well,
    /// with a grace that is longer by `slack`.
    ///
    /// For work that must be finished properly, such as settling or compensation: it is not cut off
    /// by what ends the request, and still cannot go on for ever. Its own canceller ends it at any
    /// time. Where this context has ended already, `slack` counts from now.
    ///
    /// In a task of a [`Scope`](crate::Scope) it is cut short with the task, which a join aborts
    /// [`cancel_grace`](crate::Scope::cancel_grace) after the end, half a second: set that to the
    /// longest slack.
    ///
    /// Keep a row of contexts, each shielded from the one before, as short as one of
    /// [merged](Self::merged) ones.
    ///
    /// # Examples
    ///
    /// ```
    /// # use downhaul_context::{Context, Level};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
    /// let (request, canceller) = Context::root();
    /// let (cleanup, _cleanup) = request.shielded(Duration::from_secs(5));
    /// canceller.cancel();
    /// assert_eq!(cleanup.level(), Level::Draining);
    /// let cause = cleanup.done().await;                  // 5 s later
    /// assert!(cause.to_string().starts_with("drain grace over: 5s after cancelled"));
    /// # }
    /// ```
    #[track_caller]
    #[must_use]
    pub fn shielded(&self, slack: Duration) -> (Self, Canceller) {
        let node = Node::shielded(&self.node, slack, Location::caller());
        Self::with_canceller(node, self.values.clone())
    }

    /// Derives a child that also ends when `foreign` is ready, for the reason that it returns: how
    /// something of another library becomes a parent.
    ///
    /// No task is spawned. `foreign` is polled now, and then by whoever wakes it, on their thread:
    /// it ought to do no more than to wait, as a channel's receiver does. If it panics, that ends
    /// the child.
    ///
    /// # Examples
    ///
    /// ```
    /// # use downhaul_context::{Context, Reason};
    /// let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    /// let (ctx, _canceller) = Context::background().child_until(async {
    ///     let _ = receiver.await;
    ///     Reason::cancelled("the other side hung up")
    /// });
    /// assert!(!ctx.is_done());
    /// drop(sender);
    /// assert!(ctx.cause().unwrap().to_string().contains("hung up"));
    /// ```
    #[track_caller]
    #[must_use]
    pub fn child_until<F>(&self, foreign: F) -> (Self, Canceller)
    where
        F: Future<Output = Reason> + Send + 'static,
    {
        let node = Node::foreign(&self.node, Foreign(Box::pin(foreign)), Location::caller());
        Self::with_canceller(node, self.values.clone())
    }

    /// Calls `callback` with the cause when this context ends; at once if it has ended already.
    ///
    /// It is called once at most, on the thread that ends the context, before the call that ends it
    /// returns or, where another one just registers it or tells it of a drain, on that one right
    /// after: keep it short, and spawn a task for more. A panic in it is caught, and goes no
    /// further than the panic hook. Dropping the registration stops it.
    ///
    /// Of an end that time alone brings it hears by a timer of the runtime that is current when the
    /// time becomes known: where it is registered if there is a deadline or a drain by then, and
    /// else where the drain begins. On a thread without a runtime, a drain moves the timer that
    /// there is and cannot make one. Where none has rung, since there is none or its runtime is
    /// shut down, it hears from whoever next uses or drops the canceller. So
    /// [drain](Canceller::drain) in a runtime that outlives the grace; elsewhere,
    /// [enter](tokio::runtime::Handle::enter) it first.
    ///
    /// # Panics
    ///
    /// As [`done`](Self::done).
    ///
    /// # Examples
    ///
    /// ```
    /// # use downhaul_context::Context;
    /// # use std::sync::mpsc;
    /// let (ctx, canceller) = Context::root();
    /// let (tell, told) = mpsc::channel();
    /// let registration = ctx.on_done(move |cause| tell.send(cause.kind()).unwrap());
    /// canceller.cancel();
    /// assert!(told.try_recv().is_ok());
    /// assert!(!registration.stop(), "it has run");
    /// ```
    pub fn on_done(&self, callback: impl FnOnce(Cause) + Send + 'static) -> Registration {
        let mut callback = Some(callback);
        let react = move |node: Arc<Node>| {
            if let (Some(callback), Some(cause)) = (callback.take(), node.cause()) {
                callback(cause);
            }
        };
        Registration::new(Listener::start(Ending::of(&self.node), react))
    }

    /// Returns a future that waits until this context ends and then runs `future` to its end: what
    /// to spawn where a callback is too short.
    ///
    /// # Panics
    ///
    /// The future, as [`done`](Self::done).
    ///
    /// # Cancel safety
    ///
    /// As cancel safe as `future` is.
    pub fn after<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        let done = self.done_owned();
        async move {
            done.await;
            future.await
        }
    }

    /// Lists this context and what is known below it, at this moment: everything below a context
    /// that is [observed](Derive::observed), and else what somebody waits on.
    ///
    /// Takes the lock of each listed context once, one at a time.
    ///
    /// # Examples
    ///
    /// ```
    /// # use downhaul_context::Context;
    /// let (service, _service) = Context::background().derive().label("orders").observed().build();
    /// let (request, _request) = service.derive().label("GET /orders").build();
    /// let text = request.snapshot().to_string();
    /// assert!(text.starts_with("GET /orders: live, "), "{text}");
    /// assert_eq!(service.snapshot().entries().len(), 2);
    /// ```
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.node)
    }

    /// Says whether both are handles to the same lifetime.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.node, &other.node)
    }

    /// Returns the level of this context now.
    pub fn level(&self) -> Level {
        self.node.level()
    }

    /// Says whether this context has ended.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.node.is_done()
    }

    /// Says whether this context drains or has ended.
    pub fn is_draining(&self) -> bool {
        self.level() >= Level::Draining
    }

    /// Returns why this context ended, or `None` while it has not.
    pub fn cause(&self) -> Option<Cause> {
        self.node.cause()
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
        self.node.deadline().instant()
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
        self.node.due().instant()
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

    /// [`done`](Self::done) as a future that can be spawned: it has a handle of its own.
    ///
    /// # Panics
    ///
    /// The future, as [`done`](Self::done).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`done`](Self::done).
    pub fn done_owned(&self) -> impl Future<Output = Cause> + Send + Sync + use<> {
        let ctx = self.clone();
        async move { ctx.done().await }
    }

    /// Waits until this context drains or ends.
    ///
    /// # Panics
    ///
    /// As [`done`](Self::done), also where what it is shielded from has a deadline.
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
    pub fn run<F: Future>(&self, future: F) -> impl Future<Output = Result<F::Output, Cause>> {
        Run::new(self, future)
    }

    /// [`run`](Self::run) as a future that can be spawned: it has a handle of its own.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    ///
    /// # Panics
    ///
    /// The future, as [`done`](Self::done).
    ///
    /// # Cancel safety
    ///
    /// As cancel safe as `future` is.
    pub fn run_owned<F: Future>(
        &self,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Cause>> + use<F> {
        Run::new(self.clone(), future)
    }

    /// Returns the labels from the root to here, joined by ` > `; empty where nothing is labelled.
    pub fn path(&self) -> String {
        self.node.path()
    }
}

/// Prints the path, the level, the time left, and the values that opted in; never another value,
/// which may be a secret.
impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("path", &self.path())
            .field("level", &self.level())
            .field("remaining", &self.remaining())
            .field("values", &Printable(&self.values))
            .finish()
    }
}

struct Printable<'a>(&'a Values);

impl fmt::Debug for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        self.0.each_opted_in(|opted| {
            match opted.redacted {
                true => map.entry(&opted.name, &format_args!("<redacted>")),
                // As a string, so that control characters are escaped.
                false => map.entry(&opted.name, &opted.text),
            };
        });
        map.finish()
    }
}
