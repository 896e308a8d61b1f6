//! [`Part`]: a component of a running app, with the context it lives under and the tasks that start
//! and stop it.

use std::sync::Arc;
use std::time::Duration;

use downhaul_context::{Canceller, Context, Instant, Reason};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};

use super::stopping::{End, Stopping, Timing, Unfinished, in_flight, wait_for};
use crate::abort::AbortOnDrop;
use crate::component::{Component, Ended};
use crate::error::{BoxError, no_result};
use crate::policy::Policy;
use crate::report::{ComponentReport, Outcome};
use crate::restart::FailureStreak;
use crate::status::State;

/// How long a start or a stop that was given up may take to come back: one that does not blocks its
/// thread.
const COMES_BACK: Duration = Duration::from_millis(500);

/// What has happened to a part.
#[derive(Debug)]
pub(crate) enum Event {
    Started(Result<(), BoxError>),
    /// It was told to stop before it had started.
    Interrupted,
    /// It was given up long before, for this reason, and has not come back.
    Stuck(String),
    /// It has ended by itself, in this life.
    Ended(u32, Ended),
    Stopped(ComponentReport),
    /// It has rested after this life.
    Rested(u32),
}

/// Where the parts tell what has happened to them.
pub(crate) type Events = mpsc::UnboundedSender<(usize, Event)>;

/// A component of a running app.
pub(crate) struct Part {
    pub(crate) index: usize,
    pub(crate) name: String,
    pub(crate) component: Arc<dyn Component>,
    pub(crate) policy: Policy,
    /// Failures in a row.
    pub(crate) streak: FailureStreak,
    /// How long it rests after the last of them.
    pub(crate) rest: Duration,
    /// How often it was started.
    pub(crate) starts: u32,
    pub(crate) last_error: Option<String>,
    /// What there is to say of its last stop.
    pub(crate) stopped: Option<ComponentReport>,
    /// It did not stop.
    pub(crate) left_behind: bool,
    /// What was in flight when all was forced to end.
    pub(crate) cut_off: Vec<String>,
    /// Where the app's course had it at the last look, and since when.
    seen: (State, Instant),
    life: Option<Life>,
    starting: Option<AbortHandle>,
    stop: Option<UnderWay>,
}

/// A stop under way.
struct UnderWay {
    end: watch::Sender<End>,
    timing: Timing,
    unfinished: Unfinished,
    /// Ends it with the app, also where it was left behind.
    task: AbortOnDrop,
}

/// The context of a part between its start and its stop.
#[derive(Clone)]
pub(super) struct Life {
    pub(super) ctx: Context,
    pub(super) canceller: Arc<Canceller>,
}

impl Part {
    pub(crate) fn new(
        index: usize,
        name: String,
        policy: Policy,
        component: Arc<dyn Component>,
    ) -> Self {
        Self {
            index,
            name,
            component,
            policy,
            streak: FailureStreak::default(),
            rest: Duration::ZERO,
            starts: 0,
            last_error: None,
            stopped: None,
            left_behind: false,
            cut_off: Vec::new(),
            seen: (State::Waiting, Instant::now()),
            life: None,
            starting: None,
            stop: None,
        }
    }

    /// Takes note of where it is, for [`since`](Self::since).
    pub(crate) fn note_state(&mut self, state: State) {
        if state != self.seen.0 {
            self.seen = (state, Instant::now());
        }
    }

    /// Since when it is where it was seen last.
    pub(crate) fn since(&self) -> Instant {
        self.seen.1
    }

    /// Begins to start it under a context of its own below `root`.
    pub(crate) fn start(&mut self, root: &Context, within: Duration, events: &Events) {
        let (ctx, canceller) = root.derive().label(self.name.clone()).build();
        (self.starts, self.left_behind) = (self.starts + 1, false);
        self.life = Some(Life { ctx: ctx.clone(), canceller: Arc::new(canceller) });
        let within = self.policy.start_within.unwrap_or(within);
        let starting = tokio::spawn(start(Arc::clone(&self.component), ctx.clone(), within));
        self.starting = Some(starting.abort_handle());
        let (index, events) = (self.index, events.clone());
        tokio::spawn(async move {
            let event = tokio::select! {
                biased;
                over = starting => {
                    over.unwrap_or_else(|error| Event::Started(Err(no_result(error).into())))
                }
                event = stuck(&ctx, within) => event,
            };
            let _ = events.send((index, event));
        });
    }

    /// Whether a start of it is under way, though it may have been given up.
    pub(crate) fn is_starting(&self) -> bool {
        self.starting.as_ref().is_some_and(|starting| !starting.is_finished())
    }

    /// Whether a stop of it is under way, though it may have been given up.
    fn is_stopping(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| !stop.task.0.is_finished())
    }

    /// Whether it may still be at work, though the app has given it up.
    pub(crate) fn is_at_work(&self) -> bool {
        let is_under_way = self.is_starting() || self.is_stopping();
        is_under_way || self.left_behind && self.component.is_at_work()
    }

    /// Tells of its end, should it end by itself before its context does.
    pub(crate) fn watch(&self, events: &Events) {
        let Some(Life { ctx, .. }) = self.life.clone() else { return };
        let (component, index, life) = (Arc::clone(&self.component), self.index, self.starts);
        let ending = tokio::spawn(async move { ctx.run(component.ended()).await });
        let events = events.clone();
        tokio::spawn(async move {
            let ended = match ending.await {
                Ok(Ok(ended)) => ended,
                Ok(Err(_ctx_ended)) => return,
                Err(error) => Ended::Failed(no_result(error).into()),
            };
            let _ = events.send((index, Event::Ended(life, ended)));
        });
    }

    /// Tells when it has rested.
    pub(crate) fn rest(&self, events: &Events) {
        let (index, life, rest, events) = (self.index, self.starts, self.rest, events.clone());
        tokio::spawn(async move {
            sleep(rest).await;
            let _ = events.send((index, Event::Rested(life)));
        });
    }

    /// Ends its context: it is not wanted any more, or did not start.
    pub(crate) fn end(&self, reason: Reason) {
        if let Some(life) = &self.life {
            life.canceller.cancel_with(reason);
        }
    }

    /// Begins to stop it, to be over by `until`.
    pub(crate) fn stop(&mut self, reason: Reason, until: Instant, events: &Events) {
        let Some(life) = self.life.clone() else { return };
        let (sender, end) = watch::channel(End { until, reason });
        let (name, component, policy) =
            (self.name.clone(), Arc::clone(&self.component), self.policy);
        let late = late(end.clone(), policy.cancel_grace);
        let timing = Timing { began: Instant::now(), end };
        let unfinished = Unfinished::default();
        let (timed, kept) = (timing.clone(), Arc::clone(&unfinished));
        let stopping = Stopping { name, component, life, policy, timing: timed, unfinished: kept };
        let (index, name, events) = (self.index, self.name.clone(), events.clone());
        let component = Arc::clone(&self.component);
        // In a task of its own, so that a panic costs this part alone.
        let stopping = tokio::spawn(stopping.run());
        let task = AbortOnDrop(stopping.abort_handle());
        let (timed, kept) = (timing.clone(), Arc::clone(&unfinished));
        self.stop = Some(UnderWay { end: sender, timing, unfinished, task });
        tokio::spawn(async move {
            let report = tokio::select! {
                biased;
                over = stopping => over.unwrap_or_else(|error| {
                    timed.of(left_behind(&name, component.as_ref(), no_result(error)))
                }),
                () = late => timed.of(did_not_come_back(&name, &kept)),
            };
            let _ = events.send((index, Event::Stopped(report)));
        });
    }

    /// A stop under way is to be over by then, for this reason, if not before.
    pub(crate) fn hurry(&self, by: Instant, reason: Reason) {
        if let Some(UnderWay { end, .. }) = &self.stop
            && by < end.borrow().until
        {
            end.send_replace(End { until: by, reason });
        }
    }

    /// Asks what is in flight, on a thread that may be blocked. One that starts has no work yet,
    /// and one that stops says itself what it does not finish.
    pub(crate) fn ask_in_flight(&self) -> Option<JoinHandle<Vec<String>>> {
        let component = Arc::clone(&self.component);
        let runs = !self.is_starting() && !self.is_stopping();
        runs.then(|| spawn_blocking(move || in_flight(component.as_ref())))
    }

    /// What there is to say of one that the app ends without.
    pub(crate) fn left_behind(&self, state: State) -> ComponentReport {
        let without_a_stop = |words: &str| {
            let words = words.to_owned();
            ComponentReport { words, ..ComponentReport::new(&self.name, Outcome::Abandoned) }
        };
        match &self.stop {
            _ if self.is_starting() => without_a_stop("it did not come back from its start"),
            Some(stop) if state == State::Stopping => {
                stop.timing.of(did_not_come_back(&self.name, &stop.unfinished))
            }
            _ => without_a_stop("it was not asked to stop: no time was left"),
        }
    }
}

/// It is not asked for its work: it may block its thread, with a lock that its answer waits for.
fn did_not_come_back(name: &str, unfinished: &Unfinished) -> ComponentReport {
    let mut report = ComponentReport::new(name, Outcome::Abandoned);
    report.words = "it did not come back".to_owned();
    report.unfinished = unfinished.get().cloned().unwrap_or_default();
    report
}

fn left_behind(name: &str, component: &dyn Component, words: String) -> ComponentReport {
    let mut report = ComponentReport::new(name, Outcome::Abandoned);
    (report.words, report.unfinished) = (words, in_flight(component));
    report
}

async fn start(component: Arc<dyn Component>, ctx: Context, within: Duration) -> Event {
    match ctx.run(timeout(within, component.start(&ctx))).await {
        Ok(Ok(started)) => Event::Started(started),
        Ok(Err(_late)) => {
            let why = component.not_ready().or_else(|| component.degraded());
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            Event::Started(Err(format!("not started within {within:?}{why}").into()))
        }
        Err(_told_to_stop) => Event::Interrupted,
    }
}

/// Waits until a start should have been over for long: its time was up, or it was told to stop.
async fn stuck(ctx: &Context, within: Duration) -> Event {
    let why = match timeout(within, ctx.done()).await {
        Ok(_told_to_stop) => "told to stop while it started".to_owned(),
        Err(_late) => format!("not started within {within:?}"),
    };
    sleep(COMES_BACK).await;
    Event::Stuck(format!("{why}: it blocks its thread"))
}

/// Waits until a stop should have been over for long: its time was up, and its last moment.
async fn late(end: watch::Receiver<End>, moment: Duration) {
    wait_for(end, |until| until).await;
    sleep(moment.saturating_add(COMES_BACK)).await;
}
