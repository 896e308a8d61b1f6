//! [`Task`]: work in the background as a component.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use downhaul_context::Context;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::work::{Work, boxed};
use crate::abort::AbortOnDrop;
use crate::component::{Component, Ended};
use crate::error::{BoxError, chain, no_result};

/// Work in the background, from the start of the app until it is told to stop: a loop that watches
/// its context.
///
/// It is to return soon after its context drains. One that does not is aborted when its context has
/// ended and it has had its last moment.
///
/// An error or a panic is a failure of the component; so is an end that nobody asked for, unless
/// [`may_end`](Self::may_end) or [`stops_app`](Self::stops_app) says otherwise. It can be started
/// again.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use downhaul::{App, Restart, Policy, Task};
///
/// let mut app = App::new("shop");
/// let refresh = Task::new(|ctx| async move {
///     while !ctx.is_draining() {
///         // Refreshes what is to be kept fresh, and rests a minute unless the app stops.
///         tokio::select! {
///             () = ctx.draining() => {}
///             () = tokio::time::sleep(Duration::from_secs(60)) => {}
///         }
///     }
///     Ok::<_, std::io::Error>(())
/// });
/// let refresh = app.add("refresh", refresh, []);
/// app.policy(refresh, Policy::new().restart(Restart::new()));
/// ```
pub struct Task {
    work: Work<()>,
    /// It is on a thread of its own, which cannot be aborted, but only be forgotten.
    blocks: bool,
    end: End,
    last_words: Box<dyn Fn() -> String + Send + Sync>,
    /// What it has not finished, if it can tell.
    unfinished: Option<Box<dyn Fn() -> Vec<String> + Send + Sync>>,
    /// The work of this life.
    running: RwLock<Option<Running>>,
}

/// What it means that the work ends by itself.
#[derive(Clone, Copy, Debug)]
enum End {
    Fails,
    Is(fn() -> Ended),
}

#[derive(Clone)]
struct Running {
    /// What came of it, when it is over.
    outcome: watch::Receiver<Option<Result<(), String>>>,
    abort: AbortHandle,
    /// It was at work when it was told to stop.
    stopping: bool,
}

impl Running {
    async fn over(mut self) -> Result<(), String> {
        let over = self.outcome.wait_for(Option::is_some).await;
        over.ok().and_then(|outcome| outcome.clone()).unwrap_or(Ok(()))
    }
}

impl Task {
    /// Makes a component of a closure that is called at each start.
    pub fn new<F, Fut, E>(work: F) -> Self
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let work = boxed(work);
        let last_words = Box::new(String::new);
        let running = RwLock::default();
        Self { work, blocks: false, end: End::Fails, last_words, unfinished: None, running }
    }

    /// Makes a component of a closure that blocks, and runs on a thread of its own at each start.
    ///
    /// It is to look at its context often, with [`is_draining`](Context::is_draining): a thread
    /// cannot be aborted.
    pub fn blocking<F, E>(work: F) -> Self
    where
        F: Fn(Context) -> Result<(), E> + Send + Sync + 'static,
        E: Into<BoxError> + Send + 'static,
    {
        let work = Arc::new(work);
        let task = Self::new(move |ctx| {
            let work = Arc::clone(&work);
            let thread = tokio::task::spawn_blocking(move || work(ctx));
            async move {
                match thread.await {
                    Ok(done) => done.map_err(Into::into),
                    Err(error) => Err(BoxError::from(no_result(error))),
                }
            }
        });
        Self { blocks: true, ..task }
    }

    /// It may end by itself, when there is no more to do.
    #[must_use]
    pub fn may_end(mut self) -> Self {
        self.end = End::Is(|| Ended::Done);
        self
    }

    /// When it ends by itself, its work is done, and was what the app is for: the app drains.
    #[must_use]
    pub fn stops_app(mut self) -> Self {
        self.end = End::Is(|| Ended::StopApp);
        self
    }

    /// What the report says of its work. Asked when the work has returned, and has not failed.
    #[must_use]
    pub fn last_words(mut self, words: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.last_words = Box::new(words);
        self
    }

    /// What is not finished, one line each, asked also when the work has returned: what is left
    /// then was cut short. Default: that it is at work, while it is.
    #[must_use]
    pub fn unfinished(
        mut self,
        unfinished: impl Fn() -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        self.unfinished = Some(Box::new(unfinished));
        self
    }

    fn told_to_stop(&self) -> Option<Running> {
        let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
        let running = running.as_mut()?;
        running.stopping = running.outcome.borrow().is_none();
        Some(running.clone())
    }

    fn running(&self) -> Option<Running> {
        self.running.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Component for Task {
    async fn start(&self, ctx: &Context) -> Result<(), BoxError> {
        let (over, outcome) = watch::channel(None);
        let working = tokio::spawn((self.work)(ctx.clone()));
        let running = Running { outcome, abort: working.abort_handle(), stopping: false };
        tokio::spawn(async move {
            let done = working.await.unwrap_or_else(|error| Err(no_result(error).into()));
            over.send_replace(Some(done.map_err(|error| chain(error.as_ref()))));
        });
        *self.running.write().unwrap_or_else(PoisonError::into_inner) = Some(running);
        Ok(())
    }

    async fn stop(&self, _ctx: &Context) -> String {
        let Some(running) = self.told_to_stop() else { return String::new() };
        // The work, when nobody waits for it any more.
        let _abort = (!self.blocks).then(|| AbortOnDrop(running.abort.clone()));
        match running.over().await {
            Ok(()) => (self.last_words)(),
            Err(error) => format!("ended with an error: {error}"),
        }
    }

    async fn ended(&self) -> Ended {
        let Some(running) = self.running() else { return std::future::pending().await };
        match (running.over().await, self.end) {
            (Ok(()), End::Is(ended)) => ended(),
            (Ok(()), End::Fails) => Ended::Failed("it ended, and nobody had asked it to".into()),
            (Err(error), _) => Ended::Failed(error.into()),
        }
    }

    fn can_restart(&self) -> bool {
        true
    }

    fn is_at_work(&self) -> bool {
        self.running().is_some_and(|running| running.outcome.borrow().is_none())
    }

    fn in_flight(&self) -> Vec<String> {
        let Some(running) = self.running() else { return Vec::new() };
        let mut lines = self.unfinished.as_ref().map(|told| told()).unwrap_or_default();
        match &*running.outcome.borrow() {
            None if self.unfinished.is_none() => {
                lines.push("its work in the background".to_owned())
            }
            // What it was to do when it was told to stop.
            Some(Err(error)) if running.stopping => lines.push(format!("its work: {error}")),
            _ => {}
        }
        lines
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("end", &self.end).finish_non_exhaustive()
    }
}
