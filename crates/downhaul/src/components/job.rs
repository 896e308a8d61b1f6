//! [`Job`]: work that is done once, at the start.

use std::fmt;
use std::future::Future;

use async_trait::async_trait;
use downhaul_context::Context;

use super::work::{Work, boxed};
use crate::component::{Component, Ended};
use crate::error::BoxError;

/// Work that is done once, before what needs it starts: a migration, a warm cache.
///
/// It counts as started when its work is done. Give it the time that it takes, with
/// [`Policy::start_within`](crate::Policy::start_within). It is done again when it is started
/// again.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use downhaul::{App, Job, Policy};
///
/// let mut app = App::new("shop");
/// let migrate = Job::new(|_ctx| async {
///     // Brings the tables up to date.
///     Ok::<_, std::io::Error>(())
/// });
/// let migrate = app.add("migrate", migrate, []);
/// app.policy(migrate, Policy::new().start_within(Duration::from_secs(300)));
/// ```
pub struct Job {
    work: Work<()>,
}

impl Job {
    /// Makes a component of a closure.
    pub fn new<F, Fut, E>(work: F) -> Self
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self { work: boxed(work) }
    }
}

#[async_trait]
impl Component for Job {
    async fn start(&self, ctx: &Context) -> Result<(), BoxError> {
        (self.work)(ctx.clone()).await
    }

    async fn stop(&self, _ctx: &Context) -> String {
        String::new()
    }

    async fn ended(&self) -> Ended {
        Ended::Done
    }

    fn can_restart(&self) -> bool {
        true
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}
