//! [`AppHandle`]: an app from outside its run.

use std::fmt;
use std::sync::Arc;

use downhaul_consumer::ConsumerHandle;
use tokio::sync::{mpsc, oneshot};

use crate::board::{Board, Stage, View};
use crate::component::Handle;
use crate::run::{Ask, Verb};
use crate::status::{State, Status};

/// A running app, to look at, to stop, and to start and stop the components of. Cheap to clone.
///
/// Taken with [`App::handle`](crate::App::handle) before the app runs.
///
/// # Examples
///
/// ```
/// use downhaul::{App, Job};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let mut app = App::new("migrate");
/// let migrate = app.add("migrate", Job::new(|_ctx| async { Ok::<_, std::io::Error>(()) }), []);
/// let handle = app.handle();
/// let running = tokio::spawn(app.run());
/// handle.ready().await;
/// assert!(handle.status(migrate).unwrap().state.is_up());
/// handle.stop_app("nothing left to do").await;
/// assert_eq!(running.await.unwrap().exit_code(), 0);
/// # }
/// ```
#[derive(Clone)]
pub struct AppHandle {
    pub(crate) board: Arc<Board>,
    pub(crate) asks: mpsc::Sender<Ask>,
    pub(crate) app: u64,
}

/// Why something was not begun that was asked of an app.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The app does not run, or not any more.
    #[error("the app does not run")]
    NotRunning,
    /// The app stops.
    #[error("the app stops: nothing is started or stopped apart from it any more")]
    Stopping,
    /// It would start a component again that cannot be.
    #[error("`{name}` cannot be started a second time: see `Component::can_restart`")]
    CannotRestart {
        /// The component.
        name: String,
    },
    /// It would start a component beside itself: it did not stop, or did not come back from a
    /// start, and may still be at work. It can be started when that is over.
    #[error("`{name}` may still be at work: it can be started when that is over")]
    AtWork {
        /// The component.
        name: String,
    },
    /// The handle is one of another app.
    #[error("the component is one of another app")]
    Stranger,
}

impl AppHandle {
    /// Drains the app, for this reason. An app that stops already goes on with it.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: if it is dropped, the app was told or was not.
    pub async fn stop_app(&self, why: impl Into<String>) {
        // Where nobody hears it any more, the app is over.
        let _ = self.asks.send(Ask::App(why.into())).await;
    }

    /// Waits until the app is ready for the first time, or is over, and returns whether it is
    /// ready.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ready(&self) -> bool {
        let mut views = self.board.watch();
        let known = views.wait_for(|view| view.stage != Stage::Starting).await;
        known.is_ok_and(|view| view.stage == Stage::Running)
    }

    /// Why the service is not ready, if it is not: what the readiness probe says. Asks the
    /// components on this thread, and takes as long as they do.
    pub fn not_ready(&self) -> Option<String> {
        self.board.not_ready()
    }

    /// Where a component is; `None` before the app runs, and for a component of another app.
    pub fn status(&self, component: Handle) -> Option<Status> {
        let mine = component.app == self.app;
        self.statuses().into_iter().nth(component.index).filter(|_| mine)
    }

    /// Where all components are, in the order in which they were added; empty before the app runs.
    pub fn statuses(&self) -> Vec<Status> {
        self.board.view().statuses
    }

    /// The consumer that a component runs, to pause, resume or drain it, or to look at it; `None`
    /// before its first start, and for a component that is no consumer.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::Arc;
    /// use downhaul::consumer::{Consumer, Incoming, MemoryBroker, Message, State, Subscription};
    /// use downhaul::testing::TestApp;
    /// use downhaul::{App, ConsumerWorker, Context};
    ///
    /// async fn reserve(_ctx: Context, _order: Incoming<Message>) {}
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
    /// let orders = Consumer::new(Subscription::new("orders"), reserve);
    /// let mut app = App::new("shop");
    /// let worker = ConsumerWorker::new(orders, Arc::new(MemoryBroker::new()));
    /// let orders = app.add("orders", worker, []);
    /// let app = TestApp::start(app).await;
    ///
    /// let orders = app.handle().consumer(orders).unwrap();
    /// orders.pause();
    /// assert_eq!(orders.settled().await, State::Paused);
    /// orders.resume();
    /// # app.stop().await.assert_clean();
    /// # }
    /// ```
    pub fn consumer(&self, component: Handle) -> Option<ConsumerHandle> {
        let mine = component.app == self.app;
        self.board.consumer(component.index).filter(|_| mine)
    }

    /// Starts a component and all that it needs, if they are not up, and waits until it is up or
    /// has failed, or is kept down by who stops it or something that it needs. One that has failed
    /// for good is tried again.
    ///
    /// # Errors
    ///
    /// See [`Refused`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what was begun goes on.
    pub async fn start(&self, component: Handle) -> Result<Status, Refused> {
        self.ask(component, Verb::Start).await
    }

    /// Stops a component after all that need it, and waits until it is down, or until somebody
    /// starts it meanwhile. It stays down, and so do they, until it is started: for good, if one of
    /// them [cannot be](crate::Component::can_restart) for a second time.
    ///
    /// An app is not ready while an essential component is down.
    ///
    /// # Errors
    ///
    /// See [`Refused`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what was begun goes on.
    pub async fn stop(&self, component: Handle) -> Result<Status, Refused> {
        self.ask(component, Verb::Stop).await
    }

    /// Stops a component after all that need it, starts them again, and waits until it is up or has
    /// failed, or is kept down by who stops it or something that it needs.
    ///
    /// # Errors
    ///
    /// See [`Refused`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what was begun goes on.
    pub async fn restart(&self, component: Handle) -> Result<Status, Refused> {
        self.ask(component, Verb::Restart).await
    }

    async fn ask(&self, component: Handle, verb: Verb) -> Result<Status, Refused> {
        if component.app != self.app {
            return Err(Refused::Stranger);
        }
        self.ask_at(component.index, verb).await
    }

    /// Asks something of the component at this index, and waits until it is so.
    pub(crate) async fn ask_at(&self, part: usize, verb: Verb) -> Result<Status, Refused> {
        let mut views = self.board.watch();
        let before = views.borrow().statuses.get(part).map_or(0, |status| status.starts);
        let (answer, answered) = oneshot::channel();
        let ask = Ask::Part { part, verb, answer };
        self.asks.send(ask).await.map_err(|_| Refused::NotRunning)?;
        answered.await.map_err(|_| Refused::NotRunning)??;
        let reached = |view: &View| {
            let status = &view.statuses[part];
            match verb {
                _ if matches!(view.stage, Stage::Over) => true,
                Verb::Stop => status.state.is_down() || !status.held,
                _ if status.state.is_lost() || status.barred && status.state.is_down() => true,
                Verb::Start => status.state.is_up(),
                Verb::Restart => status.state.is_up() && status.starts > before,
            }
        };
        let view = views.wait_for(reached).await.map_err(|_| Refused::NotRunning)?;
        Ok(view.statuses[part].clone())
    }
}

impl fmt::Debug for AppHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states: Vec<(String, State)> =
            self.statuses().into_iter().map(|status| (status.name, status.state)).collect();
        f.debug_struct("AppHandle").field("components", &states).finish_non_exhaustive()
    }
}
