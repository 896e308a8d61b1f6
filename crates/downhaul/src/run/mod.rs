//! [`Run`]: an app from its first start to its last stop. One loop hears what happens, asks the
//! [`Course`] what is next, and has the parts do it.

mod ask;
mod course;
mod events;
mod part;
mod stopping;
mod told;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use downhaul_context::{Context, Instant, Reason};
use tokio::sync::mpsc;
use tokio::time::{Interval, interval, sleep, sleep_until, timeout_at};

pub(crate) use self::ask::{Ask, Verb};
use self::course::{Act, Course};
pub(crate) use self::part::Part;
use self::part::{Event, Events};
pub(crate) use self::told::Told;
use crate::board::{Board, Stage};
use crate::graph::Graph;
use crate::notify;
use crate::report::{ComponentReport, Outcome};
use crate::share::share;
use crate::signal::Signal;
use crate::status::{State, Status};

/// How long a forced stop may take.
const FORCED: Duration = Duration::from_secs(1);

/// What does not change while an app runs.
pub(crate) struct Setup {
    pub(crate) app: String,
    pub(crate) root: Context,
    pub(crate) graph: Graph,
    /// For each part, whether the app needs it.
    pub(crate) essential: Vec<bool>,
    /// How long a part may take to start that does not say so itself.
    pub(crate) start_within: Duration,
    /// How long a stop at run time may take where a part does not say so itself.
    pub(crate) grace: Duration,
    pub(crate) board: Arc<Board>,
}

/// A running app.
pub(crate) struct Run {
    setup: Setup,
    parts: Vec<Part>,
    course: Course,
    sender: Events,
    events: mpsc::UnboundedReceiver<(usize, Event)>,
    asks: mpsc::Receiver<Ask>,
    /// Set while the app stops.
    ending: Option<End>,
    /// In the order in which they stopped.
    stopped: Vec<usize>,
    /// What has happened to parts, to be told once the board shows it.
    notes: Vec<(usize, State)>,
    /// When systemd is to hear that this loop goes round.
    watchdog: Option<Interval>,
}

/// When and why an app stops.
struct End {
    reason: Reason,
    until: Instant,
    total: Duration,
}

impl Run {
    pub(crate) fn new(setup: Setup, parts: Vec<Part>, asks: mpsc::Receiver<Ask>) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let course = Course::new(setup.graph.clone());
        let watchdog = notify::watchdog().map(interval);
        let (ending, stopped, notes) = (None, Vec::new(), Vec::new());
        Self { setup, parts, course, sender, events, asks, ending, stopped, notes, watchdog }
    }

    /// Starts the parts and keeps them running until there is a reason to stop. Cancel safe.
    pub(crate) async fn until_told(&mut self, signals: &mut mpsc::Receiver<Signal>) -> Told {
        loop {
            self.go_on();
            let told = tokio::select! {
                biased;
                signal = next(signals) => Some(Told::Signal(signal)),
                Some((part, event)) = self.events.recv() => self.hear(part, event),
                Some(ask) = self.asks.recv() => self.answer(ask),
                () = beat(&mut self.watchdog) => None,
            };
            if let Some(told) = told {
                return told;
            }
        }
    }

    /// Stops the parts, in order, by `until`, and hears for so long after it of those that end
    /// with their time. Returns the signal that cut it short, if one did.
    pub(crate) async fn stop(
        &mut self,
        told: &Told,
        until: Instant,
        last_word: Duration,
        signals: &mut mpsc::Receiver<Signal>,
    ) -> Option<Signal> {
        let total = until.saturating_duration_since(Instant::now());
        self.ending = Some(End { reason: told.reason(), until, total });
        self.course.stop();
        // What stops already had more time before.
        (0..self.parts.len()).for_each(|part| self.hurry(part));
        let signal = tokio::select! {
            biased;
            () = self.until_over() => None,
            signal = second(told, signals) => Some(signal),
            // A part that blocks its thread keeps its own task, and not the app.
            () = sleep_until(until + last_word) => None,
        };
        if let Some(signal) = signal {
            let reason = Told::Signal(signal).reason();
            self.ending = Some(End { reason, until: Instant::now(), total });
            self.force(signals).await;
        }
        signal
    }

    /// Ends what is left at once.
    async fn force(&mut self, signals: &mut mpsc::Receiver<Signal>) {
        tracing::warn!(app = self.setup.app, "a second signal: stopping at once");
        // Before any of them ends what another has in hand.
        self.note_in_flight().await;
        (0..self.parts.len()).for_each(|part| self.hurry(part));
        // What others need is there for half of the time: they may have to settle with it.
        if !self.is_over_within(FORCED / 2, signals).await {
            self.course.force();
            self.is_over_within(FORCED / 2, signals).await;
        }
    }

    /// Takes down what is in flight, as far as the parts say it soon: one may block its thread.
    async fn note_in_flight(&mut self) {
        let until = Instant::now() + FORCED / 4;
        let running = self.parts.iter_mut().filter(|part| !self.course.state(part.index).is_down());
        let asked: Vec<_> =
            running.filter_map(|part| Some((part.ask_in_flight()?, part))).collect();
        for (answer, part) in asked {
            part.cut_off = match timeout_at(until, answer).await {
                Ok(Ok(lines)) => lines,
                Ok(Err(_)) | Err(_) => vec!["it does not say what is in flight".to_owned()],
            };
        }
    }

    /// Waits so long at most for all to stop. A third signal ends the process.
    async fn is_over_within(
        &mut self,
        time: Duration,
        signals: &mut mpsc::Receiver<Signal>,
    ) -> bool {
        tokio::select! {
            biased;
            () = self.until_over() => true,
            third = next(signals) => std::process::exit(i32::from(third.exit_code())),
            () = sleep(time) => false,
        }
    }

    /// What there is to say of each part: first those that stopped, in that order.
    pub(crate) fn into_reports(self) -> Vec<ComponentReport> {
        let others = (0..self.parts.len()).filter(|part| !self.stopped.contains(part));
        let order = self.stopped.iter().copied().chain(others);
        let report = |part: usize| {
            let (part, state) = (&self.parts[part], self.course.state(part));
            let came_back = state.is_down() && !part.is_starting();
            let mut report = match (&part.stopped, came_back) {
                (_, false) => self.left_behind(part, state),
                (Some(report), true) => report.clone(),
                (None, true) => ComponentReport::new(&part.name, Outcome::NotRunning),
            };
            (report.starts, report.error) = (part.starts, part.last_error.clone());
            if report.unfinished.is_empty() {
                report.unfinished.clone_from(&part.cut_off);
            }
            report
        };
        order.map(report).collect()
    }

    /// What there is to say of one that the app ends without, which is told like a stop.
    fn left_behind(&self, part: &Part, state: State) -> ComponentReport {
        let report = part.left_behind(state);
        events::tell_stopped(&report);
        report
    }

    async fn until_over(&mut self) {
        loop {
            self.go_on();
            if self.course.is_over() {
                return;
            }
            tokio::select! {
                Some((part, event)) = self.events.recv() => { self.hear(part, event); }
                Some(ask) = self.asks.recv() => { self.answer(ask); }
                () = beat(&mut self.watchdog) => {}
            }
        }
    }

    /// Does all that can be done now, and says where things are.
    fn go_on(&mut self) {
        for act in self.course.next() {
            match act {
                Act::Start(part) => self.start(part),
                Act::Interrupt(part) => self.end(part),
                Act::Stop(part) => self.stop_part(part),
            }
        }
        self.publish();
    }

    fn start(&mut self, part: usize) {
        self.notes.push((part, State::Starting));
        let Setup { root, start_within, .. } = &self.setup;
        self.parts[part].start(root, *start_within, &self.sender);
    }

    fn stop_part(&mut self, part: usize) {
        self.notes.push((part, State::Stopping));
        let (reason, until) = (self.reason(part), self.until(part));
        self.parts[part].stop(reason, until, &self.sender);
    }

    fn hurry(&self, part: usize) {
        self.parts[part].hurry(self.until(part), self.reason(part));
    }

    /// By when a part is to have stopped that begins now.
    fn until(&self, part: usize) -> Instant {
        let now = Instant::now();
        let allowed = match &self.ending {
            None => self.setup.grace,
            Some(End { until, total, .. }) => {
                share(&self.setup.graph, part, until.saturating_duration_since(now), *total)
            }
        };
        now + self.parts[part].policy.stop_within.map_or(allowed, |own| own.min(allowed))
    }

    /// Ends the context of a part that is not wanted any more.
    fn end(&self, part: usize) {
        self.parts[part].end(self.reason(part));
    }

    /// Why a part stops.
    fn reason(&self, part: usize) -> Reason {
        if let Some(ending) = &self.ending {
            return ending.reason.clone();
        }
        match self.course.culprit(part) {
            Some((culprit, true)) => {
                let Part { name, last_error, .. } = &self.parts[culprit];
                Reason::component_failed(name.clone(), last_error.clone().unwrap_or_default())
            }
            Some((culprit, false)) => {
                Reason::operator(format!("stop of {}", self.parts[culprit].name))
            }
            None => Reason::operator("stop"),
        }
    }

    /// Tells a test, if one runs the app, where parts have come to.
    fn tell(&mut self) {
        for (part, state) in self.notes.drain(..) {
            let Part { name, last_error, .. } = &self.parts[part];
            let error = last_error.as_deref().filter(|_| state.is_lost());
            self.setup.board.note(name, state, error);
        }
    }

    fn publish(&mut self) {
        for part in &mut self.parts {
            part.note_state(self.course.state(part.index));
        }
        let statuses = self.parts.iter().map(|part| self.status(part)).collect();
        self.setup.board.set_statuses(statuses);
        self.tell();
        let Setup { app, board, essential, .. } = &self.setup;
        let up = |part: usize| self.course.state(part).is_up() || !essential[part];
        if board.is_starting() && (0..self.parts.len()).all(up) {
            board.set_stage(Stage::Running);
            notify::ready();
            tracing::info!(app, "started");
        }
    }

    fn status(&self, part: &Part) -> Status {
        let needs = self.setup.graph.needs(part.index).iter();
        Status {
            name: part.name.clone(),
            state: self.course.state(part.index),
            since: part.since(),
            essential: self.setup.essential[part.index],
            starts: part.starts,
            last_error: part.last_error.clone(),
            needs: needs.map(|need| self.parts[*need].name.clone()).collect(),
            can_restart: part.component.can_restart(),
            held: self.course.is_held(part.index),
            barred: self.course.is_barred(part.index),
        }
    }
}

/// Tells systemd that the app makes progress, when it is time to.
async fn beat(watchdog: &mut Option<Interval>) {
    match watchdog {
        Some(interval) => {
            interval.tick().await;
            notify::alive();
        }
        None => pending().await,
    }
}

/// The second signal. The first one is what the app was told to stop by, or comes while it stops
/// for another reason: an orchestrator does not know that it does.
async fn second(told: &Told, signals: &mut mpsc::Receiver<Signal>) -> Signal {
    if !matches!(told, Told::Signal(_)) {
        let signal = next(signals).await;
        tracing::info!(%signal, "stopping already");
    }
    next(signals).await
}

/// The next signal, if there ever is one.
async fn next(signals: &mut mpsc::Receiver<Signal>) -> Signal {
    match signals.recv().await {
        Some(signal) => signal,
        None => pending().await,
    }
}
