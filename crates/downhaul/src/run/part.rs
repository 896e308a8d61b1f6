//! [`Part`]: a component of a running app, with the context it lives under and the tasks that start
//! and stop it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use downhaul_context::{Canceller, Context, Instant, Reason};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, sleep_until, timeout};

use crate::abort::AbortOnDrop;
use crate::component::{Component, Ended};
use crate::error::{BoxError, panicked, words_of};
use crate::policy::Policy;
use crate::report::{ComponentReport, Outcome};
use crate::restart::FailureStreak;
use crate::status::State;

/// How long a start that was given up may take to come back: one that does not blocks its thread.
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
    /// Ends it with the app, also where it was left behind.
    _task: AbortOnDrop,
}

/// When a stop is to be over, and why.
#[derive(Clone)]
struct End {
    until: Instant,
    reason: Reason,
}

/// The context of a part between its start and its stop.
#[derive(Clone)]
struct Life {
    ctx: Context,
    canceller: Arc<Canceller>,
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
                    over.unwrap_or_else(|panic| Event::Started(Err(panicked(panic).into())))
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

    /// Whether it may still be at work, though the app has given it up.
    pub(crate) fn is_at_work(&self) -> bool {
        self.is_starting() || self.left_behind && self.component.is_at_work()
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
                Err(panic) => Ended::Failed(panicked(panic).into()),
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
        let stopping = Stopping { name, component, life, policy, end };
        let (index, name, events) = (self.index, self.name.clone(), events.clone());
        let component = Arc::clone(&self.component);
        // In a task of its own, so that a panic costs this part alone.
        let stopping = tokio::spawn(stopping.run());
        let task = AbortOnDrop(stopping.abort_handle());
        self.stop = Some(UnderWay { end: sender, _task: task });
        tokio::spawn(async move {
            let report = stopping
                .await
                .unwrap_or_else(|panic| left_behind(&name, component.as_ref(), panicked(panic)));
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

    /// Takes down what is in flight. One that starts has no work yet.
    pub(crate) fn note_in_flight(&mut self) {
        if !self.is_starting() {
            self.cut_off = in_flight(self.component.as_ref());
        }
    }

    /// What there is to say of one that has not come back.
    pub(crate) fn left_behind(&self) -> ComponentReport {
        let words = "it did not come back".to_owned();
        match self.is_starting() {
            // It has no work yet, and who asks for it might wait for a lock that it holds.
            true => {
                ComponentReport { words, ..ComponentReport::new(&self.name, Outcome::Abandoned) }
            }
            false => left_behind(&self.name, self.component.as_ref(), words),
        }
    }
}

fn left_behind(name: &str, component: &dyn Component, words: String) -> ComponentReport {
    let mut report = ComponentReport::new(name, Outcome::Abandoned);
    (report.words, report.unfinished) = (words, in_flight(component));
    report
}

/// What a component says is in flight. A panic costs the answer alone.
fn in_flight(component: &dyn Component) -> Vec<String> {
    let answer = catch_unwind(AssertUnwindSafe(|| component.in_flight()));
    answer.unwrap_or_else(|panic| vec![words_of(Some(panic))])
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

/// What a stop does.
struct Stopping {
    name: String,
    component: Arc<dyn Component>,
    life: Life,
    policy: Policy,
    /// What the app has left may become less.
    end: watch::Receiver<End>,
}

impl Stopping {
    /// Lets the part be a lame duck, drains it within what it is allowed, then ends its context,
    /// then leaves it behind.
    async fn run(self) -> ComponentReport {
        let began = Instant::now();
        tokio::select! {
            biased;
            _ = self.life.ctx.run(self.component.lame_duck()) => {}
            () = self.half_is_over(began) => {}
        }
        // Before it is asked to stop: how long it may take is read from its context.
        self.drain_within_what_is_left();
        let mut stop = self.component.stop(&self.life.ctx);
        let drained = tokio::select! {
            biased;
            words = &mut stop => Some(words),
            () = self.drain(began) => None,
        };
        let mut report = match drained {
            Some(words) => {
                let mut report = ComponentReport::new(&self.name, Outcome::Stopped);
                (report.words, report.unfinished) = (words, in_flight(self.component.as_ref()));
                report
            }
            None => self.cut_short(stop).await,
        };
        report.allowed = self.end.borrow().until.saturating_duration_since(began);
        report.took = began.elapsed();
        report
    }

    /// Waits until half of what it is allowed is over.
    async fn half_is_over(&self, began: Instant) {
        let mut end = self.end.clone();
        loop {
            let allowed = end.borrow_and_update().until.saturating_duration_since(began);
            tokio::select! {
                () = sleep_until(began + allowed / 2) => return,
                Ok(()) = end.changed() => {}
            }
        }
    }

    /// Drains the context, and waits until it is time to end it.
    ///
    /// It would end with what is allowed. It is ended a little before, so that what is in flight
    /// then can be named first.
    async fn drain(&self, began: Instant) {
        let mut end = self.end.clone();
        loop {
            let until = end.borrow_and_update().until;
            let allowed = until.saturating_duration_since(began);
            self.drain_within_what_is_left();
            let cancel_grace = self.policy.cancel_grace.min(allowed / 4);
            tokio::select! {
                () = sleep_until(until - cancel_grace) => return,
                Ok(()) = end.changed() => {}
            }
        }
    }

    fn drain_within_what_is_left(&self) {
        let End { until, reason } = self.end.borrow().clone();
        let left = until.saturating_duration_since(Instant::now());
        match left.is_zero() {
            // For that reason, and not for a grace that is over.
            true => self.life.canceller.cancel_with(reason),
            false => self.life.canceller.drain_with(left, reason),
        };
    }

    /// Ends the context and gives the part a last moment to stop. What was in flight then is named.
    async fn cut_short(&self, stop: impl Future<Output = String>) -> ComponentReport {
        let unfinished = in_flight(self.component.as_ref());
        let End { until, reason } = self.end.borrow().clone();
        self.life.canceller.cancel_with(reason);
        let left = until.saturating_duration_since(Instant::now());
        // Where its time is over, as when all is forced, it has its last moment all the same.
        let moment = if left.is_zero() { self.policy.cancel_grace } else { left };
        let last = timeout(moment, stop).await;
        let outcome = if last.is_ok() { Outcome::Cancelled } else { Outcome::Abandoned };
        let mut report = ComponentReport::new(&self.name, outcome);
        (report.words, report.unfinished) = (last.unwrap_or_default(), unfinished);
        report
    }
}
