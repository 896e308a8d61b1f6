//! [`App`]: what a service is made of, and its one run from start to stop.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use downhaul_context::{Context, Instant, Reason};
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until, timeout};

use crate::board::{Board, Stage};
use crate::component::{Component, Handle};
use crate::control::{Control, Open};
use crate::error::{BoxError, chain};
use crate::plan::Plan;
use crate::report::{ComponentReport, Ending, Outcome, Report};
use crate::signal::{Signal, listen};
use crate::stop::{Part, Stopping};
use crate::telemetry::Telemetry;

/// How long a component may take to start, unless the app is told otherwise.
const START: Duration = Duration::from_secs(10);

/// The part of the grace that is kept for what comes after the components: the control server and
/// telemetry. At most a tenth of it.
const RESERVE: Duration = Duration::from_secs(1);

/// The longest grace, so that a moment can be reckoned with it: a year.
const LONGEST_GRACE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long a forced stop may take.
const FORCED: Duration = Duration::from_secs(1);

/// A service: components that start in order, work under one tree of contexts, and stop in reverse
/// order.
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
/// // A real `main` says `app.run().await`, which listens to the process's signals.
/// let (sender, signals) = mpsc::channel(1);
/// sender.send(Signal::Terminate).await.unwrap();
/// let report = app.run_with(signals).await;
/// assert_eq!(report.exit_code(), 0);
/// # }
/// ```
#[derive(Debug)]
#[must_use = "an app does nothing until it is run"]
pub struct App {
    name: String,
    grace: Duration,
    start: Duration,
    plan: Plan,
    names: Vec<String>,
    components: Components,
    control: Option<Control>,
    telemetry: Option<Telemetry>,
    id: u64,
}

/// The components, which need not be printable.
#[derive(Default)]
struct Components(Vec<Arc<dyn Component>>);

impl std::fmt::Debug for Components {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} components", self.0.len())
    }
}

impl App {
    /// Makes an app of nothing yet.
    pub fn new(name: impl Into<String>) -> Self {
        static APPS: AtomicU64 = AtomicU64::new(0);
        Self {
            name: name.into(),
            grace: Duration::from_secs(30),
            start: START,
            plan: Plan::default(),
            names: Vec::new(),
            components: Components::default(),
            control: None,
            telemetry: None,
            id: APPS.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// How long stopping may take in all. Default 30 s, which is what Kubernetes allows; at most a
    /// year.
    ///
    /// A component may use what is left when it begins, but for a tenth of the grace for each step
    /// that comes after it.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace.min(LONGEST_GRACE);
        self
    }

    /// How long each component may take to start, before the app gives up. Default 10 s.
    ///
    /// A consumer of a Kafka group needs more where one before it has crashed: the group lets
    /// nobody in before the crashed one's session is over.
    pub fn start_within(mut self, limit: Duration) -> Self {
        self.start = limit;
        self
    }

    /// Serves health probes and control of the consumers on an address of their own.
    pub fn control(mut self, control: Control) -> Self {
        self.control = Some(control);
        self
    }

    /// Flushes spans when all else has stopped.
    pub fn telemetry(mut self, telemetry: Telemetry) -> Self {
        self.telemetry = Some(telemetry);
        self
    }

    /// Adds a component that needs others: it starts after them and stops before them.
    ///
    /// What is needed is named by the handle of a component that was added before, so a cycle
    /// cannot be written.
    ///
    /// # Panics
    ///
    /// If a handle is another app's.
    #[track_caller]
    pub fn add(
        &mut self,
        name: impl Into<String>,
        component: impl Component,
        needs: impl IntoIterator<Item = Handle>,
    ) -> Handle {
        let (name, needs): (String, Vec<_>) = (name.into(), needs.into_iter().collect());
        let ours = needs.iter().all(|handle| handle.app == self.id);
        assert!(ours, "`{name}` needs a component of another app");
        let index = self.plan.add(needs.iter().map(|handle| handle.index).collect());
        self.names.push(name);
        self.components.0.push(Arc::new(component));
        Handle { index, app: self.id }
    }

    /// Runs the app until a signal or a failure, then stops it, and reports.
    ///
    /// The first SIGTERM or SIGINT drains, a second one forces, a third ends the process at once. A
    /// `main` prints the report and calls [`Report::exit`], so that a thread that blocks cannot
    /// keep the process.
    ///
    /// # Panics
    ///
    /// If called outside a tokio runtime with I/O and time enabled.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropping the future ends all contexts at once and leaves no report.
    pub async fn run(self) -> Report {
        match listen() {
            Ok(signals) => self.run_with(signals).await,
            Err(error) => {
                let why = format!("cannot listen to signals: {error}");
                self.report(Ending::NotStarted(why), String::new(), Duration::ZERO, Vec::new())
            }
        }
    }

    /// Runs the app with signals from elsewhere; for tests, and for programs that have their own.
    /// When the channel closes, no signal comes any more.
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    pub async fn run_with(mut self, mut signals: mpsc::Receiver<Signal>) -> Report {
        let (root, _root) = Context::background().derive().label(self.name.clone()).build();
        let board = Arc::new(Board::new());
        board.set_parts(self.components.0.clone());
        let control = match self.open_control(&root, &board).await {
            Ok(control) => control,
            Err(error) => {
                let why = format!("control: {}", chain(error.as_ref()));
                return self.report(Ending::NotStarted(why), String::new(), Duration::ZERO, vec![]);
            }
        };
        let mut parts = Vec::new();
        let told = tokio::select! {
            biased;
            signal = next(&mut signals) => Told::Signal(signal),
            failure = self.start(&root, &mut parts) => match failure {
                Err((name, error)) => Told::Failed { name, error, starting: true },
                Ok(()) => {
                    board.set_stage(Stage::Running);
                    tracing::info!(app = self.name, "started");
                    self.until_told(&mut signals, &parts).await
                }
            },
        };
        self.stop(parts, &board, control, told, signals).await
    }

    async fn open_control(
        &mut self,
        root: &Context,
        board: &Arc<Board>,
    ) -> Result<Option<Open>, BoxError> {
        match self.control.take() {
            Some(control) => Ok(Some(control.open(root, Arc::clone(board)).await?)),
            None => Ok(None),
        }
    }

    /// Starts all components in order. What was begun is in `parts`, also when it failed.
    async fn start(&self, root: &Context, parts: &mut Vec<Part>) -> Result<(), (String, BoxError)> {
        for (index, component) in self.components.0.iter().enumerate() {
            let name = self.names[index].clone();
            let (ctx, canceller) = root.derive().label(name.clone()).build();
            let (component, canceller) = (Arc::clone(component), Arc::new(canceller));
            parts.push(Part { index, name: name.clone(), component, ctx, canceller });
            let Some(part) = parts.last() else { continue };
            if let Err(error) = start_within(self.start, part).await {
                // It did not start, so it is not stopped: its context ends here.
                parts.pop();
                return Err((name, error));
            }
            tracing::info!(component = name, "started");
        }
        Ok(())
    }

    /// Waits for a signal or for a component to fail.
    async fn until_told(&self, signals: &mut mpsc::Receiver<Signal>, parts: &[Part]) -> Told {
        let mut failures = tokio::task::JoinSet::new();
        for part in parts {
            let (name, component) = (part.name.clone(), Arc::clone(&part.component));
            failures.spawn(async move { (name, component.failed().await) });
        }
        tokio::select! {
            signal = next(signals) => Told::Signal(signal),
            Some(Ok((name, error))) = failures.join_next() => {
                Told::Failed { name, error, starting: false }
            }
        }
    }

    async fn stop(
        mut self,
        parts: Vec<Part>,
        board: &Board,
        control: Option<Open>,
        told: Told,
        mut signals: mpsc::Receiver<Signal>,
    ) -> Report {
        let began = Instant::now();
        let cause = told.words();
        tracing::info!(app = self.name, cause, "stopping");
        board.set_stage(Stage::Draining(cause.clone()));
        let reserve = RESERVE.min(self.grace / 10);
        let until = began + self.grace.saturating_sub(reserve);
        let stopping = Stopping::new(self.plan.clone(), parts, until, told.reason());
        let forced = tokio::select! {
            biased;
            () = stopping.finished() => None,
            signal = next(&mut signals) => Some(signal),
            // A part that blocks its thread keeps its own task, and not the app.
            () = sleep_until(until) => None,
        };
        if let Some(signal) = forced {
            tracing::warn!(app = self.name, "{signal} again: stopping at once");
            stopping.force();
            tokio::select! {
                biased;
                () = stopping.finished() => {}
                third = next(&mut signals) => std::process::exit(i32::from(third.exit_code())),
                () = sleep(FORCED) => {}
            }
        }
        let components = stopping.into_reports();
        if let Some(control) = control {
            control.close().await;
        }
        if let Some(telemetry) = self.telemetry.take() {
            telemetry.shut_down(RESERVE).await;
        }
        let ending = told.ending(forced, &components);
        self.report(ending, cause, began.elapsed(), components)
    }

    fn report(
        &self,
        ending: Ending,
        cause: String,
        took: Duration,
        components: Vec<ComponentReport>,
    ) -> Report {
        Report { app: self.name.clone(), cause, ending, took, grace: self.grace, components }
    }
}

/// Why the app stops.
enum Told {
    Signal(Signal),
    Failed { name: String, error: BoxError, starting: bool },
}

impl Told {
    fn words(&self) -> String {
        match self {
            Self::Signal(signal) => signal.to_string(),
            Self::Failed { name, error, .. } => format!("{name}: {}", chain(error.as_ref())),
        }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Signal(signal) => Reason::signal(signal.to_string()),
            Self::Failed { name, error, .. } => {
                Reason::component_failed(name.clone(), chain(error.as_ref()))
            }
        }
    }

    fn ending(&self, forced: Option<Signal>, components: &[ComponentReport]) -> Ending {
        let cut_short = |component: &ComponentReport| {
            component.outcome != Outcome::Stopped || !component.unfinished.is_empty()
        };
        match (forced, self) {
            (Some(signal), _) => Ending::Forced(signal),
            (None, Self::Failed { starting: true, .. }) => Ending::NotStarted(self.words()),
            (None, Self::Failed { .. }) => Ending::Failed(self.words()),
            (None, Self::Signal(_)) if components.iter().any(cut_short) => Ending::CutShort,
            (None, Self::Signal(_)) => Ending::Clean,
        }
    }
}

async fn start_within(limit: Duration, part: &Part) -> Result<(), BoxError> {
    match timeout(limit, part.component.start(&part.ctx)).await {
        Ok(started) => started,
        Err(_) => {
            let why = part.component.not_ready();
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            Err(format!("not started within {limit:?}{why}").into())
        }
    }
}

/// The next signal, if there ever is one.
async fn next(signals: &mut mpsc::Receiver<Signal>) -> Signal {
    match signals.recv().await {
        Some(signal) => signal,
        None => pending().await,
    }
}
