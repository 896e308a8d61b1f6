//! [`Component`]: what an app starts and stops.

use std::fmt;
use std::future::pending;

use async_trait::async_trait;
use downhaul_consumer::ConsumerHandle;
use downhaul_context::Context;

use crate::error::BoxError;

/// A part of a service that is started, and stopped when nothing needs it any more.
///
/// Only [`start`](Self::start) and [`stop`](Self::stop) are required. The same component is never
/// started twice.
#[async_trait]
pub trait Component: Send + Sync + 'static {
    /// Starts, and returns once it is ready to do its work. What goes on in the background belongs
    /// to `ctx`.
    ///
    /// # Errors
    ///
    /// It cannot start. The app stops what was started before and ends.
    async fn start(&self, ctx: &Context) -> Result<(), BoxError>;

    /// Waits until all work is finished, and returns a few words for the report.
    ///
    /// Called when `ctx` drains: take nothing new, finish what is begun. When `ctx` ends, return
    /// soon. The future may be dropped and the method called again, to go on where it was.
    async fn stop(&self, ctx: &Context) -> String;

    /// Waits until the component has failed for good and returns why. An app whose component fails
    /// drains.
    async fn failed(&self) -> BoxError {
        pending().await
    }

    /// Why the service is not ready on this component's account, if so.
    fn not_ready(&self) -> Option<String> {
        None
    }

    /// What is in flight, one line each; after [`stop`](Self::stop), what was not finished.
    fn in_flight(&self) -> Vec<String> {
        Vec::new()
    }

    /// The consumer that can be controlled at run time, if this is one and has started.
    fn consumer(&self) -> Option<ConsumerHandle> {
        None
    }
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
