//! [`Stopping`]: one stop of a part, from its lame duck to its last moment.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use downhaul_context::{Instant, Reason};
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use super::part::Life;
use crate::component::Component;
use crate::error::{caught, words_of};
use crate::policy::Policy;
use crate::report::{ComponentReport, Outcome};

/// When a stop is to be over, and why.
#[derive(Clone)]
pub(super) struct End {
    pub(super) until: Instant,
    pub(super) reason: Reason,
}

/// When a stop began, and when it is to be over, which may become sooner.
#[derive(Clone)]
pub(super) struct Timing {
    pub(super) began: Instant,
    pub(super) end: watch::Receiver<End>,
}

impl Timing {
    /// Says how long it took by now, and was allowed to take.
    pub(super) fn of(&self, report: ComponentReport) -> ComponentReport {
        let allowed = self.end.borrow().until.saturating_duration_since(self.began);
        ComponentReport { took: self.began.elapsed(), allowed, ..report }
    }
}

/// What was in flight when a stop was cut short, if it was.
pub(super) type Unfinished = Arc<OnceLock<Vec<String>>>;

/// What a stop does.
pub(super) struct Stopping {
    pub(super) name: String,
    pub(super) component: Arc<dyn Component>,
    pub(super) life: Life,
    pub(super) policy: Policy,
    pub(super) timing: Timing,
    /// For who does not wait for the report.
    pub(super) unfinished: Unfinished,
}

impl Stopping {
    /// Lets the part be a lame duck, drains it within what it is allowed, then ends its context,
    /// then leaves it behind.
    pub(super) async fn run(self) -> ComponentReport {
        tokio::select! {
            biased;
            _ = self.life.ctx.run(self.lame_duck()) => {}
            () = self.half_is_over() => {}
        }
        // Before it is asked to stop: how long it may take is read from its context.
        self.drain_within_what_is_left();
        let mut stop = self.component.stop(&self.life.ctx);
        let drained = tokio::select! {
            biased;
            words = &mut stop => Some(words),
            () = self.drain() => None,
        };
        let report = match drained {
            Some(words) => {
                let mut report = ComponentReport::new(&self.name, Outcome::Stopped);
                let unfinished = self.unfinished.get().cloned();
                let in_flight = || in_flight(self.component.as_ref());
                (report.words, report.unfinished) = (words, unfinished.unwrap_or_else(in_flight));
                report
            }
            None => self.cut_short(stop).await,
        };
        self.timing.of(report)
    }

    /// A panic costs the lame duck alone.
    async fn lame_duck(&self) {
        if let Err(error) = caught(async { self.component.lame_duck().await }).await {
            tracing::warn!(component = self.name, error, "its lame duck failed");
        }
    }

    /// Waits until half of what it is allowed is over.
    async fn half_is_over(&self) {
        let Timing { began, end } = self.timing.clone();
        wait_for(end, |until| began + until.saturating_duration_since(began) / 2).await;
    }

    /// Drains the context, and waits until it is time to end it.
    ///
    /// It would end with what is allowed. It is ended a little before, so that what is in flight
    /// then can be named first.
    async fn drain(&self) {
        let Timing { began, end } = self.timing.clone();
        let last_moment = |until: Instant| {
            self.drain_within_what_is_left();
            let allowed = until.saturating_duration_since(began);
            until - self.policy.cancel_grace.min(allowed / 4)
        };
        wait_for(end, last_moment).await;
    }

    fn drain_within_what_is_left(&self) {
        let End { until, reason } = self.timing.end.borrow().clone();
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // For that reason, and not for a grace that is over.
            self.cancel(reason);
        } else {
            self.life.canceller.drain_with(left, reason);
        }
    }

    /// Ends the context, and names what was in flight: what ends with it is not there a moment
    /// later.
    fn cancel(&self, reason: Reason) -> &[String] {
        let unfinished = self.unfinished.get_or_init(|| in_flight(self.component.as_ref()));
        self.life.canceller.cancel_with(reason);
        unfinished
    }

    /// Ends the context and gives the part a last moment to stop. What was in flight then is named.
    async fn cut_short(&self, stop: impl Future<Output = String>) -> ComponentReport {
        let End { until, reason } = self.timing.end.borrow().clone();
        let unfinished = self.cancel(reason);
        let left = until.saturating_duration_since(Instant::now());
        // Where its time is over, as when all is forced, it has its last moment all the same.
        let moment = if left.is_zero() { self.policy.cancel_grace } else { left };
        let last = timeout(moment, stop).await;
        let outcome = if last.is_ok() { Outcome::Cancelled } else { Outcome::Abandoned };
        let mut report = ComponentReport::new(&self.name, outcome);
        (report.words, report.unfinished) = (last.unwrap_or_default(), unfinished.to_vec());
        report
    }
}

/// Waits until a time that follows from when a stop is to be over, which may become sooner.
pub(super) async fn wait_for(mut end: watch::Receiver<End>, time: impl Fn(Instant) -> Instant) {
    loop {
        let until = end.borrow_and_update().until;
        tokio::select! {
            () = sleep_until(time(until)) => return,
            Ok(()) = end.changed() => {}
        }
    }
}

/// What a component says is in flight. A panic costs the answer alone.
pub(super) fn in_flight(component: &dyn Component) -> Vec<String> {
    let answer = catch_unwind(AssertUnwindSafe(|| component.in_flight()));
    answer.unwrap_or_else(|panic| vec![words_of(panic)])
}
