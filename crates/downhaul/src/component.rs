//! [`Component`]: what an app starts and stops.

use std::fmt;
use std::future::pending;

use async_trait::async_trait;
use downhaul_consumer::ConsumerHandle;
use downhaul_consumer::outbox::RelayHandle;
use downhaul_context::Context;

use crate::error::BoxError;

/// A part of a service that is started, and stopped when nothing needs it any more.
///
/// Only [`start`](Self::start) and [`stop`](Self::stop) are required. [`Task`](crate::Task),
/// [`Job`](crate::Job) and [`Resource`](crate::Resource) make components of closures.
#[async_trait]
pub trait Component: Send + Sync + 'static {
    /// Starts, and returns once it is ready to do its work. What goes on in the background belongs
    /// to `ctx`.
    ///
    /// The future is dropped, and `ctx` ends, if the app stops meanwhile or loses its patience.
    /// [`stop`](Self::stop) is not called then: what was opened by then is to go with the future,
    /// or with `ctx`.
    ///
    /// # Errors
    ///
    /// It cannot start. [`stop`](Self::stop) is not called then.
    async fn start(&self, ctx: &Context) -> Result<(), BoxError>;

    /// Waits until all work is finished, and returns a few words for the report.
    ///
    /// The words say what was done, and are no failure. What could not be done, such as a flush, is
    /// named by [`in_flight`](Self::in_flight) afterwards: then the end of the app is not clean,
    /// and its exit code 1.
    ///
    /// Called once for each start, when `ctx` drains: take nothing new, finish what is begun. When
    /// `ctx` ends, return soon: the future is dropped if it does not within the cancel grace of its
    /// [`Policy`](crate::Policy). Called too after the component has ended by itself.
    async fn stop(&self, ctx: &Context) -> String;

    /// Goes on for a while before it stops, as a lame duck: until those who send it work have seen
    /// that the service is not ready. Returns at once by default.
    ///
    /// Called before [`stop`](Self::stop), when the component's turn to stop has come. `ctx` drains
    /// when this returns, or panics. The future is dropped at half of the time that the component
    /// has to stop.
    async fn lame_duck(&self) {}

    /// Waits until the component has ended by itself, and returns how. Called after each start.
    ///
    /// By default that is never. A task that [`start`](Self::start) has spawned may end or panic
    /// unheard, unless this waits for it.
    async fn ended(&self) -> Ended {
        pending().await
    }

    /// Whether it can be started again, under a new context, after [`stop`](Self::stop) or a
    /// failed start. If not, neither a [`Restart`](crate::Restart) nor an operator does so, and the
    /// [control interface](crate::Control) stops it only by force.
    fn can_restart(&self) -> bool {
        false
    }

    /// Why the service is not ready on this component's account, if so. Probes wait half a second
    /// for the answer, and take a panic for one that it is not.
    ///
    /// A dependency that many instances share is no reason: they would all be taken out of service
    /// at once. It is one to be [`degraded`](Self::degraded).
    fn not_ready(&self) -> Option<String> {
        None
    }

    /// What is wrong with it, though the service is ready. The readiness probe tells it.
    fn degraded(&self) -> Option<String> {
        None
    }

    /// Whether something of it may still be at work, though its context has ended and its
    /// [`stop`](Self::stop) was dropped or panicked. Asked then alone, and until it is false the
    /// component is not started again. By default it is never: nobody else can know.
    fn is_at_work(&self) -> bool {
        true
    }

    /// What is in flight, one line each; after [`stop`](Self::stop), what was not finished. A
    /// forced stop waits a quarter of a second for the answer.
    fn in_flight(&self) -> Vec<String> {
        Vec::new()
    }

    /// The consumer that can be controlled at run time, if this is one and has started.
    fn consumer(&self) -> Option<ConsumerHandle> {
        None
    }

    /// The relay that is measured, with its outbox, if this is one.
    fn relay(&self) -> Option<RelayHandle> {
        None
    }
}

/// How a component ended by itself.
#[derive(Debug)]
#[non_exhaustive]
pub enum Ended {
    /// It has failed. It is started again if its [`Policy`](crate::Policy) says so; if not, an
    /// essential one drains the app and is its cause.
    Failed(BoxError),
    /// Its work is done. What needs it runs on.
    Done,
    /// Its work is done and was what the app is for: the app drains.
    StopApp,
}

/// A component of an app, as others name it when they need it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle {
    pub(crate) index: usize,
    /// Tells the handles of two apps apart.
    pub(crate) app: u64,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({})", self.index)
    }
}
