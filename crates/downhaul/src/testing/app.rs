//! [`TestApp`]: an app in a test.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::event::{Event, Journal, WORDS};
use crate::app::App;
use crate::board::Stage;
use crate::handle::AppHandle;
use crate::report::Report;
use crate::signal::Signal;

/// How long a test waits for what is to happen, unless it says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// The first signal drains an app, the second forces it. A third would end the process.
const SIGNALS: usize = 2;

/// An app in a test: it runs in the background, gets its signals from the test, and tells what
/// happens to its components.
///
/// It is the app that the service runs, with its order, its policies and its grace. Give it what
/// stands for the world outside: a [`MemoryBroker`](downhaul_consumer::MemoryBroker), addresses
/// with port 0. On tokio's paused clock a grace, a rest or a timeout costs no time; for requests
/// over real sockets leave the clock alone, since a paused one moves on while it waits for the
/// system.
///
/// Dropping it ends the app at once, without a report.
///
/// # Examples
///
/// A service over a broker in memory, which is told to stop while a message is at work:
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use downhaul::consumer::{
///     Broker, Consumer, Failure, Incoming, MemoryBroker, Message, Outgoing, Publisher,
///     Subscription,
/// };
/// use downhaul::testing::TestApp;
/// use downhaul::{App, BrokerLink, ConsumerWorker, Context, Signal};
///
/// async fn reserve(_ctx: Context, _order: Incoming<Message>) -> Result<(), Failure> {
///     tokio::time::sleep(Duration::from_secs(5)).await;
///     Ok(())
/// }
///
/// // The function that `main` calls too, with another broker.
/// fn service(broker: Arc<dyn Broker>) -> App {
///     let mut app = App::new("shop");
///     let publisher = Publisher::new(broker.clone());
///     let link = app.add("broker", BrokerLink::new(broker.clone(), publisher), []);
///     let reserve = Consumer::new(Subscription::new("inventory").topic("order"), reserve);
///     app.add("inventory", ConsumerWorker::new(reserve, broker), [link]);
///     app
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let broker = Arc::new(MemoryBroker::new());
/// let app = TestApp::start(service(broker.clone())).await;
///
/// let order = Outgoing::to_topic("order", Message::new("7"));
/// Publisher::new(broker).publish(&Context::background(), order).await?;
/// tokio::time::sleep(Duration::from_secs(1)).await;
///
/// app.signal(Signal::Terminate);
/// let report = app.ended().await;
/// report.assert_clean();
/// assert_eq!(report.component("inventory").words, "1 message processed");
/// assert_eq!(report.took.as_secs(), 4, "it waited for the message");
/// app.assert_order(["inventory stopped", "broker stopped"]);
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping it ends the app"]
pub struct TestApp {
    handle: AppHandle,
    signals: mpsc::Sender<Signal>,
    /// How many signals were sent.
    sent: AtomicUsize,
    journal: Arc<Journal>,
    running: AbortHandle,
    report: watch::Receiver<Option<Report>>,
    patience: Duration,
}

impl TestApp {
    /// Starts an app and waits until it is ready.
    ///
    /// It waits as long as the app lets its components start.
    ///
    /// # Panics
    ///
    /// If the app is over before it was seen ready, with its report; and outside a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the app.
    pub async fn start(app: App) -> Self {
        let app = Self::spawn(app);
        app.ready().await;
        app
    }

    /// Begins to start an app and returns at once: for tests of what happens while it starts, or
    /// of a start that fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul::testing::TestApp;
    /// use downhaul::{App, Job};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
    /// let mut app = App::new("shop");
    /// app.add("migrate", Job::new(|_ctx| async { Err::<(), _>("no such table") }), []);
    /// TestApp::spawn(app).ended().await.assert_failed("migrate: no such table");
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn spawn(app: App) -> Self {
        let (signals, receiver) = mpsc::channel(SIGNALS);
        let (over, report) = watch::channel(None);
        let (handle, journal) = (app.handle(), Arc::new(Journal::new()));
        let written = Arc::clone(&journal);
        handle.board.listen(move |name, state, error| written.write(name, state, error));
        let running = tokio::spawn(async move {
            over.send_replace(Some(app.run_with(receiver).await));
        });
        let (running, sent) = (running.abort_handle(), AtomicUsize::new(0));
        Self { handle, signals, sent, journal, running, report, patience: PATIENCE }
    }

    /// How long [`until`](Self::until) and [`ended`](Self::ended) wait, by tokio's clock. Default a
    /// minute.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The app's handle: to look at it, to stop it, and to start and stop its components.
    pub fn handle(&self) -> AppHandle {
        self.handle.clone()
    }

    /// Waits until the app is ready.
    ///
    /// # Panics
    ///
    /// If it is over before, with its report.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ready(&self) {
        if !self.handle.ready().await {
            let report = self.report().await;
            panic!("the app was over before it was seen ready:\n{report}\n{}\n", self.journal);
        }
    }

    /// Sends the app a signal: the first drains it, a second one forces it.
    ///
    /// # Panics
    ///
    /// At the third, which would end the process and with it the tests.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let before = self.sent.fetch_add(1, Ordering::SeqCst);
        assert!(before < SIGNALS, "a third signal would end the process of the test");
        // There is room for both. An app that is over hears nothing, as a process would.
        let _ = self.signals.try_send(signal);
    }

    /// Sends SIGTERM, unless a signal was sent before, and waits for the report. An app that is
    /// over already has the same.
    ///
    /// # Panics
    ///
    /// If the run of the app panics.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the app goes on to stop.
    pub async fn stop(&self) -> Report {
        if self.sent.load(Ordering::SeqCst) == 0 {
            self.signal(Signal::Terminate);
        }
        self.report().await
    }

    /// Waits until the app has ended, for whatever reason.
    ///
    /// # Panics
    ///
    /// If nothing stops it within the [`patience`](Self::patience) of the test, and if the run of
    /// the app panics.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ended(&self) -> Report {
        let mut views = self.handle.board.watch();
        let told = views.wait_for(|view| matches!(view.stage, Stage::Draining(_) | Stage::Over));
        if timeout(self.patience, told).await.is_err() {
            panic!("nothing stopped the app within {:?}\n{}\n", self.patience, self.journal);
        }
        self.report().await
    }

    /// Waits until something has happened so many times since the app began: `store started`,
    /// `store failed`. Those that have happened already count.
    ///
    /// # Panics
    ///
    /// If it does not happen within the [`patience`](Self::patience) of the test or before the app
    /// is over, with what happened instead; and if there is no such component or no such word.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn until(&self, words: &str, times: usize) {
        self.check(words).await;
        let mut report = self.report.clone();
        let happened = tokio::select! {
            biased;
            happened = timeout(self.patience, self.journal.until(words, times)) => happened.is_ok(),
            _ = report.wait_for(Option::is_some) => false,
        };
        assert!(happened, "not {times} times: {words}\n{}\n", self.journal);
    }

    /// All that happened, in order, from the app's own view.
    ///
    /// A component that was left behind has begun to stop, and has not stopped.
    pub fn events(&self) -> Vec<Event> {
        self.journal.read()
    }

    /// What happened, in order and in words: `started`, `done`, `failed`, `stopped`.
    ///
    /// Components that do not need each other have no order: see
    /// [`assert_order`](Self::assert_order).
    pub fn order(&self) -> Vec<String> {
        let events = self.events();
        events.iter().filter(|event| event.is_done()).map(Event::words).collect()
    }

    /// These things happened in this order, whatever happened between them.
    ///
    /// # Panics
    ///
    /// If they did not, with what happened.
    #[track_caller]
    pub fn assert_order<'a>(&self, words: impl IntoIterator<Item = &'a str>) {
        let events = self.events();
        let mut left = events.iter().map(Event::words);
        for words in words {
            let found = left.any(|event| event == words);
            assert!(found, "not in this order: {words}\n{}\n", self.journal);
        }
    }

    /// A word that can never come is told at once.
    async fn check(&self, words: &str) {
        let mut views = self.handle.board.watch();
        let known = views.wait_for(|view| !view.statuses.is_empty() || view.stage == Stage::Over);
        let known = known.await.map(|view| view.statuses.clone()).unwrap_or_default();
        let names: Vec<_> = known.iter().map(|status| status.name.as_str()).collect();
        let (name, word) = words.rsplit_once(' ').unwrap_or((words, ""));
        let (names, all) = (names.join(", "), WORDS.join(", "));
        let is_known = known.iter().any(|status| status.name == name);
        assert!(is_known, "`{words}`: no component `{name}`, but {names}");
        assert!(WORDS.contains(&word), "`{words}`: nothing is `{word}`, but {all}");
    }

    async fn report(&self) -> Report {
        let mut report = self.report.clone();
        let over = report.wait_for(Option::is_some).await;
        let Some(report) = over.ok().and_then(|report| report.clone()) else {
            panic!("the run of the app panicked\n{}\n", self.journal);
        };
        report
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl fmt::Debug for TestApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestApp").field("handle", &self.handle).finish_non_exhaustive()
    }
}
