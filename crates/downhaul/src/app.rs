//! [`App`]: what a service is made of, and its one run from start to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use downhaul_context::{Context, Instant};
use tokio::sync::mpsc;

use crate::board::{Board, Stage};
use crate::component::{Component, Handle};
use crate::control::{Control, Open};
use crate::error::{BoxError, chain};
use crate::graph::Graph;
use crate::handle::AppHandle;
use crate::notify;
use crate::plan::Plan;
use crate::policy::Policy;
use crate::pulse::Pulse;
use crate::report::{Ending, Report};
use crate::run::{Ask, Part, Run, Setup, Told};
use crate::signal::{Signal, listen};
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::instruments;

/// How long stopping may take in all, unless the app is told otherwise.
pub(crate) const GRACE: Duration = Duration::from_secs(30);

/// How long a component may take to start, unless the app is told otherwise.
pub(crate) const START: Duration = Duration::from_secs(10);

/// The part of the grace that is kept for what comes after the components: their last words, the
/// control server and telemetry. At most a tenth of it.
const RESERVE: Duration = Duration::from_secs(1);

/// The longest grace, so that a moment can be reckoned with it: a year.
const LONGEST_GRACE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How many wishes of [`AppHandle`]s may wait to be heard.
const ASKS: usize = 16;

/// A service: components that start in order, work under one tree of contexts, and stop in reverse
/// order.
///
/// The [front page](crate) has a whole program.
#[derive(Debug)]
#[must_use = "an app does nothing until it is run"]
pub struct App {
    name: String,
    grace: Duration,
    start: Duration,
    graph: Graph,
    parts: Vec<Added>,
    control: Option<Control>,
    telemetry: Option<Telemetry>,
    handle: AppHandle,
    asks: mpsc::Receiver<Ask>,
}

/// A component that was added.
struct Added {
    name: String,
    policy: Policy,
    component: Arc<dyn Component>,
}

impl std::fmt::Debug for Added {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Drop for App {
    /// Nobody is to wait for an app that will never run, or not on.
    fn drop(&mut self) {
        self.handle.board.set_stage(Stage::Over);
    }
}

impl App {
    /// Makes an app of nothing yet.
    pub fn new(name: impl Into<String>) -> Self {
        static APPS: AtomicU64 = AtomicU64::new(0);
        let (sender, asks) = mpsc::channel(ASKS);
        let app = APPS.fetch_add(1, Ordering::Relaxed);
        Self {
            name: name.into(),
            grace: GRACE,
            start: START,
            graph: Graph::default(),
            parts: Vec::new(),
            control: None,
            telemetry: None,
            handle: AppHandle { board: Arc::new(Board::new()), asks: sender, app },
            asks,
        }
    }

    /// How long stopping may take in all. Default 30 s; at most a year.
    ///
    /// What Kubernetes allows by default is just as long and leaves no time for the end of the
    /// process: give it what [`plan`](Self::plan) says, 32 s.
    ///
    /// A component may use what is left when it begins, but for a tenth of the grace for each step
    /// that comes after it, and no more than its own [`Policy::stop_within`].
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace.min(LONGEST_GRACE);
        self
    }

    /// How long each component may take to start, before the app gives up. Default 10 s.
    ///
    /// One that blocks its thread is given up half a second later.
    /// Where the runtime has no other thread, nothing can give it up.
    ///
    /// A consumer of a Kafka group needs more where one before it has crashed: the group lets
    /// nobody in before the crashed one's session is over.
    pub fn start_within(mut self, limit: Duration) -> Self {
        self.start = limit;
        self
    }

    /// Serves health probes and control of the components on an address of their own.
    pub fn control(mut self, control: Control) -> Self {
        self.control = Some(control);
        self
    }

    /// Exports the last spans and metrics when all else has stopped. Several apps of one process
    /// share it by clones, and the last of them ends it.
    pub fn telemetry(mut self, telemetry: Telemetry) -> Self {
        self.telemetry = Some(telemetry);
        self
    }

    /// Adds a component that needs others: it starts after them and stops before them.
    ///
    /// What is needed is named by the handle of a component that was added before, so a cycle
    /// cannot be written. Components that do not need each other start and stop at the same time.
    ///
    /// # Panics
    ///
    /// If a handle is another app's, or a component of this name is there already.
    #[track_caller]
    pub fn add(
        &mut self,
        name: impl Into<String>,
        component: impl Component,
        needs: impl IntoIterator<Item = Handle>,
    ) -> Handle {
        let (name, needs): (String, Vec<_>) = (name.into(), needs.into_iter().collect());
        let ours = needs.iter().all(|handle| handle.app == self.handle.app);
        assert!(ours, "`{name}` needs a component of another app");
        let taken = self.parts.iter().any(|part| part.name == name);
        assert!(!taken, "there is a component `{name}` already");
        let index = self.graph.add(needs.iter().map(|handle| handle.index).collect());
        let (policy, component) = (Policy::new(), Arc::new(component));
        self.parts.push(Added { name, policy, component });
        Handle { index, app: self.handle.app }
    }

    /// Says what to do with a component: its time to start and stop, whether it is started again
    /// after a failure, and whether the app can do without it.
    ///
    /// # Panics
    ///
    /// If the handle is another app's.
    #[track_caller]
    pub fn policy(&mut self, component: Handle, policy: Policy) {
        assert_eq!(component.app, self.handle.app, "the component is one of another app");
        self.parts[component.index].policy = policy;
    }

    /// A handle to the app, for other tasks to stop it and to start and stop its components.
    pub fn handle(&self) -> AppHandle {
        self.handle.clone()
    }

    /// How the app will start and stop, and the grace that its orchestrator must give.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use downhaul::{App, Job, Policy};
    ///
    /// let job = || Job::new(|_ctx| async { Ok::<_, std::io::Error>(()) });
    /// let mut app = App::new("shop");
    /// let store = app.add("store", job(), []);
    /// let web = app.add("web", job(), [store]);
    /// app.policy(store, Policy::new().stop_within(Duration::from_secs(5)));
    /// app.policy(web, Policy::new().stop_within(Duration::from_secs(15)));
    ///
    /// let plan = app.plan();
    /// assert_eq!(plan.critical_path, ["web", "store"]);
    /// assert_eq!(plan.worst_case, Duration::from_secs(15 + 5 + 1));
    /// assert_eq!(plan.kubernetes(), "terminationGracePeriodSeconds: 23");
    /// ```
    pub fn plan(&self) -> Plan {
        let essential = self.essential();
        let parts = self.parts.iter().zip(essential);
        let parts: Vec<_> =
            parts.map(|(part, essential)| (part.name.as_str(), part.policy, essential)).collect();
        Plan::new(&self.name, self.grace, self.reserve(), &self.graph, &parts)
    }

    /// Runs the app until a signal or a failure, then stops it, and reports.
    ///
    /// The first SIGTERM or SIGINT drains, a second one forces, a third ends the process at once.
    /// So does one that comes when the future is over or dropped, unless another app of the process
    /// runs: signals do not go back to who had them before.
    ///
    /// A `main` prints the report and calls [`Report::exit`], so that a thread that blocks cannot
    /// keep the process.
    ///
    /// # Panics
    ///
    /// If called outside a tokio runtime with I/O and time enabled.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropping the future ends all contexts at once and leaves no report.
    pub async fn run(mut self) -> Report {
        match listen() {
            Ok(signals) => self.run_with(signals).await,
            Err(error) => self.not_started(format!("cannot listen to signals: {error}")).await,
        }
    }

    /// Runs the app with signals from elsewhere; for tests, and for programs that have their own.
    /// When the channel closes, no signal comes any more.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul::{App, HttpServer, Signal};
    /// use downhaul::http::{Error, Request, Router};
    /// use downhaul::Context;
    /// use tokio::sync::mpsc;
    ///
    /// async fn hello(_ctx: Context, req: Request) -> Result<String, Error> {
    ///     Ok(format!("Hello, {}!", req.param::<String>("name")?))
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let mut app = App::new("hello");
    /// let router = Router::new().get("/hello/{name}", hello);
    /// app.add("http", HttpServer::new("127.0.0.1:0", router), []);
    ///
    /// let (sender, signals) = mpsc::channel(1);
    /// sender.send(Signal::Terminate).await.unwrap();
    /// let report = app.run_with(signals).await;
    /// assert_eq!(report.exit_code(), 0);
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    pub async fn run_with(mut self, mut signals: mpsc::Receiver<Signal>) -> Report {
        if let Some(why) = self.plan().too_short().or_else(|| self.cannot_restart()) {
            return self.not_started(why).await;
        }
        let (root, _root) = Context::background().derive().label(self.name.clone()).build();
        let control = match self.open_control(&root).await {
            Ok(control) => control,
            Err(error) => {
                let why = format!("control: {}", chain(error.as_ref()));
                return self.not_started(why).await;
            }
        };
        let _counted = instruments().map(|instruments| {
            instruments.watch(&root);
            instruments.count_parts(&self.name, &self.handle.board)
        });
        let _pulse = Pulse::start();
        let mut run = self.begin(root);
        let told = run.until_told(&mut signals).await;
        self.stop(run, control, told, signals).await
    }

    async fn open_control(&mut self, root: &Context) -> Result<Option<Open>, BoxError> {
        self.handle.board.set_parts(self.components());
        match self.control.take() {
            Some(control) => Ok(Some(control.open(root, self.handle.clone()).await?)),
            None => Ok(None),
        }
    }

    fn begin(&mut self, root: Context) -> Run {
        let parts = self.parts.iter().enumerate().map(|(index, part)| {
            Part::new(index, part.name.clone(), part.policy, Arc::clone(&part.component))
        });
        let setup = Setup {
            app: self.name.clone(),
            root,
            graph: self.graph.clone(),
            essential: self.essential(),
            start_within: self.start,
            grace: self.grace,
            board: Arc::clone(&self.handle.board),
        };
        let (_closed, none) = mpsc::channel(1);
        Run::new(setup, parts.collect(), std::mem::replace(&mut self.asks, none))
    }

    async fn stop(
        &mut self,
        mut run: Run,
        control: Option<Open>,
        told: Told,
        mut signals: mpsc::Receiver<Signal>,
    ) -> Report {
        let (began, cause) = (Instant::now(), told.words());
        tracing::info!(app = self.name, cause, "stopping");
        self.handle.board.set_stage(Stage::Draining(cause.clone()));
        notify::stopping(self.grace);
        let until = began + self.grace.saturating_sub(self.reserve());
        let forced = run.stop(&told, until, self.reserve() / 8, &mut signals).await;
        let components = run.into_reports();
        if let Some(control) = control {
            control.close(self.reserve() / 8).await;
        }
        let mut report = self.report(told.ending(forced, &components), cause);
        report.culprit = told.culprit().map(str::to_owned);
        report.components = components;
        self.conclude(began, report).await
    }

    fn components(&self) -> Vec<(String, Arc<dyn Component>)> {
        let part = |part: &Added| (part.name.clone(), Arc::clone(&part.component));
        self.parts.iter().map(part).collect()
    }

    /// For each component, whether the app needs it: itself, or for one that it needs.
    fn essential(&self) -> Vec<bool> {
        let needed = |part: usize| {
            let mut dependents = self.graph.all_dependents(part).into_iter();
            dependents.any(|dependent| self.parts[dependent].policy.essential)
        };
        (0..self.parts.len()).map(needed).collect()
    }

    /// Why a component cannot be started again that is to be, if so.
    fn cannot_restart(&self) -> Option<String> {
        let restarts =
            (0..self.parts.len()).filter(|part| self.parts[*part].policy.restart.is_some());
        restarts.into_iter().find_map(|part| {
            let cannot = |other: &usize| !self.parts[*other].component.can_restart();
            let other = self.graph.all_dependents(part).into_iter().find(cannot)?;
            let (name, other) = (&self.parts[part].name, &self.parts[other].name);
            Some(format!(
                "`{name}` is to be started again after a failure, and `{other}` cannot be: see \
                 `Component::can_restart`"
            ))
        })
    }

    fn reserve(&self) -> Duration {
        RESERVE.min(self.grace / 10)
    }

    async fn not_started(&mut self, why: String) -> Report {
        let report = self.report(Ending::NotStarted(why.clone()), why);
        self.conclude(Instant::now(), report).await
    }

    fn report(&self, ending: Ending, cause: String) -> Report {
        Report {
            app: self.name.clone(),
            cause,
            ending,
            took: Duration::ZERO,
            grace: self.grace,
            components: Vec::new(),
            telemetry: None,
            culprit: None,
        }
    }

    /// Exports the last spans and metrics of all others, and then says how it ended: in the log,
    /// too, as its last line.
    async fn conclude(&mut self, began: Instant, mut report: Report) -> Report {
        let telemetry = match self.telemetry.take() {
            Some(telemetry) => Some(telemetry.shut_down(self.reserve() * 3 / 4).await),
            None => None,
        };
        report.telemetry = telemetry.as_ref().and_then(|shut_down| shut_down.lost.clone());
        report.took = began.elapsed();
        report.log();
        report
    }
}
