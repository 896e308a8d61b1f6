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
    reports: Arc<Mutex<Vec<ComponentReport>>>,
    left: watch::Receiver<Vec<usize>>,
    force: watch::Sender<bool>,
}

/// What the tasks share.
struct Shared {
    plan: Plan,
    until: Instant,
    reason: Reason,
    reports: Arc<Mutex<Vec<ComponentReport>>>,
    left: watch::Sender<Vec<usize>>,
}

impl Stopping {
    /// Begins to stop `parts`; all is to be over by `until`.
    pub(crate) fn new(plan: Plan, parts: Vec<Part>, until: Instant, reason: Reason) -> Self {
        let (force, forced) = watch::channel(false);
        let left = watch::Sender::new(parts.iter().map(|part| part.index).collect());
        let reports = Arc::default();
        let stopping = Self { reports: Arc::clone(&reports), left: left.subscribe(), force };
        let shared = Arc::new(Shared { plan, until, reason, reports, left });
        for part in parts {
            tokio::spawn(stop(part, Arc::clone(&shared), forced.clone()));
        }
        stopping
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

    pub(crate) fn into_reports(self) -> Vec<ComponentReport> {
        std::mem::take(&mut self.reports.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn stop(part: Part, shared: Arc<Shared>, mut forced: watch::Receiver<bool>) {
    let dependents = shared.plan.dependents(part.index);
    let mut left = shared.left.subscribe();
    let free = |left: &Vec<usize>| dependents.iter().all(|other| !left.contains(other));
    tokio::select! {
        biased;
        _ = forced.wait_for(|force| *force) => {}
        _ = left.wait_for(free) => {}
    }
    let report = stop_now(&part, &shared, &mut forced).await;
    let words = &*report.words;
    tracing::info!(component = part.name, outcome = ?report.outcome, words, "stopped");
    shared.reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
    shared.left.send_modify(|left| left.retain(|other| *other != part.index));
}

/// Drains a part within its share, then ends its context, then leaves it behind.
async fn stop_now(
    part: &Part,
    shared: &Shared,
    forced: &mut watch::Receiver<bool>,
) -> ComponentReport {
    let began = Instant::now();
    let allowed = shared.plan.share(part.index, shared.until.saturating_duration_since(began));
    // The last part of the share is for those who stop only when told that they must.
    let grace = allowed.saturating_sub(ABORT.min(allowed / 2));
    part.canceller.drain_with(grace, shared.reason.clone());
    let drained = tokio::select! {
        biased;
        words = part.component.stop(&part.ctx) => Some(words),
        _ = forced.wait_for(|force| *force) => None,
        () = sleep_until(began + grace) => None,
    };
    let (outcome, words, unfinished) = match drained {
        Some(words) => (Outcome::Stopped, words, Vec::new()),
        None => cut_short(part, shared).await,
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
