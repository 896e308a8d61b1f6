//! [`Resource`]: something that is opened, used by others, and closed after all of them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use async_trait::async_trait;
use downhaul_context::Context;

use super::work::{Work, boxed};
use crate::component::Component;
use crate::error::{BoxError, chain};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Close<T> = Box<dyn Fn(T) -> Boxed<Result<(), BoxError>> + Send + Sync>;

/// Something that is opened at the start, used by the components that need it, and closed when none
/// of them does any more: a pool of connections, a store, a client.
///
/// What it opens is had from [`provided`](Self::provided). It can be started again: it is opened
/// anew then.
///
/// # Examples
///
/// ```
/// use downhaul::{App, Provided, Resource, Task};
///
/// # #[derive(Clone)] struct Pool;
/// # impl Pool {
/// #     async fn connect(_: &str) -> std::io::Result<Self> { Ok(Self) }
/// #     async fn close(self) {}
/// # }
/// let pool = Resource::new(|_ctx| Pool::connect("db.internal")).close(Pool::close);
/// let connections: Provided<Pool> = pool.provided();
///
/// let mut app = App::new("shop");
/// let pool = app.add("pool", pool, []);
/// let sweep = Task::new(move |ctx| {
///     let connections = connections.clone();
///     async move {
///         let pool = connections.get()?;
///         # let _ = pool;
///         ctx.draining().await;
///         Ok::<_, downhaul::NotProvided>(())
///     }
/// });
/// app.add("sweep", sweep, [pool]);
/// ```
pub struct Resource<T> {
    open: Work<T>,
    close: Close<T>,
    provided: Provided<T>,
    /// Why it could not be closed, in the life that is over.
    not_closed: Mutex<Option<String>>,
}

/// What closing a [`Resource`] comes to: nothing, or a `Result` whose error says what was lost.
///
/// It cannot be implemented for anything else.
pub trait Closed: sealed::Closed {}

impl<T: sealed::Closed> Closed for T {}

mod sealed {
    use crate::error::BoxError;

    #[allow(unnameable_types, reason = "nobody else is to implement it")]
    pub trait Closed {
        fn result(self) -> Result<(), BoxError>;
    }

    impl Closed for () {
        fn result(self) -> Result<(), BoxError> {
            Ok(())
        }
    }

    impl<E: Into<BoxError>> Closed for Result<(), E> {
        fn result(self) -> Result<(), BoxError> {
            self.map_err(Into::into)
        }
    }
}

/// What a [`Resource`] has opened. Cheap to clone.
pub struct Provided<T>(Arc<RwLock<Option<T>>>);

/// A [`Resource`] is not open.
///
/// A component that uses one is to need it: see [`App::add`](crate::App::add).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a resource of type `{what}` is not open: does the component that uses it need it?")]
#[non_exhaustive]
pub struct NotProvided {
    /// The type of the resource.
    pub what: &'static str,
}

impl<T: Clone + Send + Sync + 'static> Resource<T> {
    /// Makes a component of a closure that opens it, at each start.
    pub fn new<F, Fut, E>(open: F) -> Self
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let open = boxed(open);
        let close: Close<T> = Box::new(|resource| {
            drop(resource);
            Box::pin(std::future::ready(Ok(())))
        });
        Self { open, close, provided: Provided::default(), not_closed: Mutex::default() }
    }

    /// How it is closed. Default: it is dropped.
    ///
    /// The future comes to nothing, or to a `Result`. With an error the stop of the app is no clean
    /// one: something was lost that the report names, such as what could not be flushed.
    ///
    /// The future may be dropped, when the time to stop is over.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul::testing::TestApp;
    /// use downhaul::{App, Resource};
    /// use std::io;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
    /// let journal = Resource::new(|_ctx| async { io::Result::Ok("journal.log") })
    ///     .close(|_journal| async { Err(io::Error::other("disk full")) });
    /// let mut app = App::new("shop");
    /// app.add("journal", journal, []);
    /// let report = TestApp::start(app).await.stop().await;
    /// assert_eq!(report.component("journal").unfinished, ["its close: disk full"]);
    /// assert_eq!(report.exit_code(), 1);
    /// # }
    /// ```
    #[must_use]
    pub fn close<F, Fut>(mut self, close: F) -> Self
    where
        F: Fn(T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: Closed> + Send + 'static,
    {
        self.close = Box::new(move |resource| {
            let closing = close(resource);
            Box::pin(async move { sealed::Closed::result(closing.await) })
        });
        self
    }

    /// Where what it opens is had, between its start and its stop.
    pub fn provided(&self) -> Provided<T> {
        self.provided.clone()
    }

    fn not_closed(&self) -> MutexGuard<'_, Option<String>> {
        self.not_closed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Provided<T> {
    /// A clone of what is open.
    ///
    /// # Errors
    ///
    /// It is not open: not yet, or not any more.
    pub fn get(&self) -> Result<T, NotProvided> {
        let open = self.0.read().unwrap_or_else(PoisonError::into_inner);
        open.clone().ok_or_else(|| NotProvided { what: std::any::type_name::<T>() })
    }
}

impl<T> Provided<T> {
    pub(super) fn set(&self, resource: Option<T>) -> Option<T> {
        std::mem::replace(&mut self.0.write().unwrap_or_else(PoisonError::into_inner), resource)
    }
}

#[async_trait]
impl<T: Clone + Send + Sync + 'static> Component for Resource<T> {
    async fn start(&self, ctx: &Context) -> Result<(), BoxError> {
        *self.not_closed() = None;
        self.provided.set(Some((self.open)(ctx.clone()).await?));
        Ok(())
    }

    async fn stop(&self, _ctx: &Context) -> String {
        let Some(resource) = self.provided.set(None) else { return String::new() };
        match (self.close)(resource).await {
            Ok(()) => String::new(),
            Err(error) => {
                let error = chain(error.as_ref());
                let words = format!("closed with an error: {error}");
                *self.not_closed() = Some(error);
                words
            }
        }
    }

    fn in_flight(&self) -> Vec<String> {
        self.not_closed().iter().map(|error| format!("its close: {error}")).collect()
    }

    fn can_restart(&self) -> bool {
        true
    }

    /// It went with the future that was to close it.
    fn is_at_work(&self) -> bool {
        false
    }
}

impl<T> Default for Provided<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Provided<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Provided<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Provided").field(&std::any::type_name::<T>()).finish()
    }
}

impl<T> fmt::Debug for Resource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource").field("provided", &self.provided).finish_non_exhaustive()
    }
}
