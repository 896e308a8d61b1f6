//! [`Stopping`]: stops the parts of an app, each as soon as nothing needs it any more.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use downhaul_context::{Canceller, Context, Instant, Reason};
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use crate::component::Component;
use crate::plan::Plan;
use crate::report::{ComponentReport, Outcome};

/// How long a component may take to stop once its context has ended.
const ABORT: Duration = Duration::from_millis(500);

/// A component that was started, with the context it lives under.
pub(crate) struct Part {
    pub(crate) index: usize,
    pub(crate) name: String,
    pub(crate) component: Arc<dyn Component>,
    pub(crate) ctx: Context,
    pub(crate) canceller: Arc<Canceller>,
}

/// The stop of an app under way: a task for each part, which waits for those that need it.
pub(crate) struct Stopping {
    parts: Vec<Arc<Part>>,
    reports: Arc<Mutex<Vec<ComponentReport>>>,
    left: watch::Receiver<Vec<usize>>,
    force: watch::Sender<bool>,
}

/// What the tasks share.
struct Shared {
    plan: Plan,
    until: Instant,
    /// From the beginning of the stop until then.
    total: Duration,
    reason: Reason,
    reports: Arc<Mutex<Vec<ComponentReport>>>,
    left: watch::Sender<Vec<usize>>,
}

impl Stopping {
    /// Begins to stop `parts`; all is to be over by `until`.
    pub(crate) fn new(plan: Plan, parts: Vec<Part>, until: Instant, reason: Reason) -> Self {
        let (force, forced) = watch::channel(false);
        let left = watch::Sender::new(parts.iter().map(|part| part.index).collect());
        let parts: Vec<Arc<Part>> = parts.into_iter().map(Arc::new).collect();
        let reports = Arc::default();
        let subscribed = left.subscribe();
        let total = until.saturating_duration_since(Instant::now());
        let shared = Shared { plan, until, total, reason, reports: Arc::clone(&reports), left };
        let shared = Arc::new(shared);
        for part in &parts {
            tokio::spawn(stop(Arc::clone(part), Arc::clone(&shared), forced.clone()));
        }
        Self { parts, reports, left: subscribed, force }
    }

    /// Waits until every part has stopped or was left behind. Cancel safe.
    pub(crate) async fn finished(&self) {
        let mut left = self.left.clone();
        let _ = left.wait_for(Vec::is_empty).await;
    }

    /// Stops all that is left at once.
    pub(crate) fn force(&self) {
        self.force.send_replace(true);
    }

    /// What there is to say of each part; those that have not come back are left behind.
    pub(crate) fn into_reports(self) -> Vec<ComponentReport> {
        let left = self.left.borrow().clone();
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = self.parts.iter().filter(|part| left.contains(&part.index));
        reports.extend(lost.map(|part| left_behind(part, "it did not come back")));
        std::mem::take(&mut reports)
    }
}

async fn stop(part: Arc<Part>, shared: Arc<Shared>, mut forced: watch::Receiver<bool>) {
    let dependents = shared.plan.dependents(part.index);
    let mut left = shared.left.subscribe();
    let free = |left: &Vec<usize>| dependents.iter().all(|other| !left.contains(other));
    tokio::select! {
        biased;
        _ = forced.wait_for(|force| *force) => {}
        _ = left.wait_for(free) => {}
    }
    // In a task of its own, so that a panic costs this part alone.
    let stopping = tokio::spawn(stop_now(Arc::clone(&part), Arc::clone(&shared), forced));
    let report = stopping.await.unwrap_or_else(|_| left_behind(&part, "it panicked"));
    let words = &*report.words;
    tracing::info!(component = part.name, outcome = ?report.outcome, words, "stopped");
    shared.reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
    shared.left.send_modify(|left| left.retain(|other| *other != part.index));
}

fn left_behind(part: &Part, words: &str) -> ComponentReport {
    ComponentReport {
        name: part.name.clone(),
        outcome: Outcome::Abandoned,
        words: words.to_owned(),
        took: Duration::ZERO,
        allowed: Duration::ZERO,
        unfinished: part.component.in_flight(),
    }
}

/// Drains a part within its share, then ends its context, then leaves it behind.
async fn stop_now(
    part: Arc<Part>,
    shared: Arc<Shared>,
    mut forced: watch::Receiver<bool>,
) -> ComponentReport {
    let began = Instant::now();
    let left = shared.until.saturating_duration_since(began);
    let allowed = shared.plan.share(part.index, left, shared.total);
    // The context would end with the share. It is ended a little before, so that what is in flight
    // then can be named first.
    let grace = allowed.saturating_sub(ABORT.min(allowed / 4));
    part.canceller.drain_with(allowed, shared.reason.clone());
    let drained = tokio::select! {
        biased;
        words = part.component.stop(&part.ctx) => Some(words),
        _ = forced.wait_for(|force| *force) => None,
        () = sleep_until(began + grace) => None,
    };
    let (outcome, words, unfinished) = match drained {
        Some(words) => (Outcome::Stopped, words, part.component.in_flight()),
        None => cut_short(&part, &shared).await,
    };
    let (name, took) = (part.name.clone(), began.elapsed());
    ComponentReport { name, outcome, words, took, allowed, unfinished }
}

/// Ends the context of a part and gives it a last moment. What was in flight then is named.
async fn cut_short(part: &Part, shared: &Shared) -> (Outcome, String, Vec<String>) {
    let unfinished = part.component.in_flight();
    part.canceller.cancel_with(shared.reason.clone());
    match timeout(ABORT, part.component.stop(&part.ctx)).await {
        Ok(words) => (Outcome::Cancelled, words, unfinished),
        Err(_) => (Outcome::Abandoned, String::new(), unfinished),
    }
}
