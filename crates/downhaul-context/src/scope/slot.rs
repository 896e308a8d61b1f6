//! [`Slot`]: room for one task.

use std::borrow::Cow;
use std::panic::Location;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::error::{BoxError, Refused, TaskError};
use super::running::{Job, Running, Tracked};
use super::task::Task;
use super::work::{Tag, WorkKind};
use super::{Scope, Ticket};
use crate::context::Context;

/// Room for one task within the limit of a scope; see [`Scope::slot`]. Dropping it gives it back.
#[derive(Debug)]
pub struct Slot<'a> {
    scope: &'a Scope,
    permit: Option<OwnedSemaphorePermit>,
}

impl<'a> Slot<'a> {
    pub(super) fn new(scope: &'a Scope, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self { scope, permit }
    }

    /// Starts a task; as [`Scope::spawn`], but never [full](Refused::Full).
    ///
    /// # Errors
    ///
    /// [`Refused::Ended`] if the scope has ended.
    ///
    /// # Panics
    ///
    /// As [`Scope::spawn`].
    #[track_caller]
    pub fn spawn<T, F, Fut>(
        self,
        name: impl Into<Cow<'static, str>>,
        task: F,
    ) -> Result<Task<T>, Refused>
    where
        T: Send + 'static,
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, BoxError>> + Send + 'static,
    {
        let tag = Tag::new(WorkKind::Task, name.into(), Location::caller());
        self.start(tag, |runtime, running| runtime.spawn(Tracked::new(running, task)))
    }

    /// Starts a task on a thread where it may block; as [`Scope::spawn_blocking`], but never
    /// [full](Refused::Full).
    ///
    /// # Errors
    ///
    /// [`Refused::Ended`] if the scope has ended.
    ///
    /// # Panics
    ///
    /// As [`Scope::spawn`].
    #[track_caller]
    pub fn spawn_blocking<T, F>(
        self,
        name: impl Into<Cow<'static, str>>,
        task: F,
    ) -> Result<Task<T>, Refused>
    where
        T: Send + 'static,
        F: FnOnce(Context) -> Result<T, BoxError> + Send + 'static,
    {
        let tag = Tag::new(WorkKind::Blocking, name.into(), Location::caller());
        self.start(tag, |runtime, running| {
            let job = Job::new(running, task);
            runtime.spawn_blocking(move || job.run())
        })
    }

    #[track_caller]
    fn start<T>(
        self,
        tag: Tag,
        launch: impl FnOnce(&Handle, Running) -> JoinHandle<Result<T, TaskError>>,
    ) -> Result<Task<T>, Refused> {
        let Self { scope, permit } = self;
        // First, since it may panic.
        let runtime = Handle::current();
        scope.ctx.check().map_err(Refused::Ended)?;
        let ticket: Ticket = scope.enter(tag.clone())?;
        let id = ticket.id();
        let (ctx, canceller) = scope.ctx.derive().label(tag.name.clone()).build();
        let canceller = Arc::new(canceller);
        let weak = Arc::downgrade(&canceller);
        let join = launch(&runtime, Running::new(tag.clone(), ctx, canceller, (ticket, permit)));
        scope.shared.started(id, join.abort_handle());
        Ok(Task::new(join, tag, weak))
    }
}
