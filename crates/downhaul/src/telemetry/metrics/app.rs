//! What is measured of an app: its contexts, and how its components stop.

use std::sync::{Arc, Mutex, PoisonError};

use downhaul_context::{Context, Level};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use super::Instruments;
use crate::report::{ComponentReport, Outcome};

/// The roots of the apps of a process. All are counted together: an instrument keeps the last value
/// that it is told, whoever tells it.
#[derive(Clone, Default)]
pub(super) struct Roots(Arc<Mutex<Vec<Context>>>);

impl Roots {
    /// Counts, whenever somebody looks, the contexts that are known below them.
    pub(super) fn counted(meter: &Meter) -> Self {
        let roots = Self::default();
        let looked_at = roots.clone();
        let contexts = meter.i64_observable_up_down_counter("downhaul.contexts");
        contexts
            .with_unit("{context}")
            .with_description("Number of contexts that have not ended, by how far they have come")
            .with_callback(move |seen| {
                for (level, name) in [(Level::Live, "live"), (Level::Draining, "draining")] {
                    let level_is = KeyValue::new("downhaul.context.level", name);
                    seen.observe(looked_at.count(level), &[level_is]);
                }
            })
            .build();
        let looked_at = roots.clone();
        let stragglers = meter.i64_observable_up_down_counter("downhaul.stragglers");
        stragglers
            .with_unit("{context}")
            .with_description("Number of contexts that have ended and whose work has not stopped")
            .with_callback(move |seen| seen.observe(looked_at.count(Level::Done), &[]))
            .build();
        roots
    }

    fn count(&self, level: Level) -> i64 {
        let mut roots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = 0;
        roots.retain(|root| {
            let snapshot = root.snapshot();
            // One that has ended is held by nobody but us.
            let known = snapshot.entries().iter().skip(usize::from(root.is_done()));
            all += known.clone().filter(|entry| entry.level == level).count();
            known.count() > 0
        });
        i64::try_from(all).unwrap_or(i64::MAX)
    }
}

impl Instruments {
    /// Counts the contexts below `root`, too, until it has ended and none of them is held.
    pub(crate) fn watch(&self, root: &Context) {
        self.roots.0.lock().unwrap_or_else(PoisonError::into_inner).push(root.clone());
    }

    /// Records how a component stopped.
    pub(crate) fn drained(&self, report: &ComponentReport) {
        let outcome = match report.outcome {
            Outcome::Stopped => "stopped",
            Outcome::Cancelled => "cancelled",
            Outcome::Abandoned => "abandoned",
            Outcome::NotRunning => return,
        };
        let component = KeyValue::new("downhaul.component.name", report.name.clone());
        let attributes = [component, KeyValue::new("downhaul.outcome", outcome)];
        self.drain_duration.record(report.took.as_secs_f64(), &attributes);
    }
}
