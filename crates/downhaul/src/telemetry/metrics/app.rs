//! What is measured of an app: its contexts, and how its components stop.

use downhaul_context::{Context, Level};
use opentelemetry::KeyValue;

use super::Instruments;
use crate::report::{ComponentReport, Outcome};

impl Instruments {
    /// Counts, whenever somebody looks, the contexts that are known below `root`, until it ends.
    pub(crate) fn watch(&self, root: &Context) {
        let looked_at = root.clone();
        let contexts = self.meter.i64_observable_up_down_counter("downhaul.contexts");
        contexts
            .with_unit("{context}")
            .with_description("Number of contexts that have not ended, by how far they have come")
            .with_callback(move |seen| {
                for (level, name) in [(Level::Live, "live"), (Level::Draining, "draining")] {
                    let level_is = KeyValue::new("downhaul.context.level", name);
                    seen.observe(count(&looked_at, level), &[level_is]);
                }
            })
            .build();
        let looked_at = root.clone();
        let stragglers = self.meter.i64_observable_up_down_counter("downhaul.stragglers");
        stragglers
            .with_unit("{context}")
            .with_description("Number of contexts that have ended and whose work has not stopped")
            .with_callback(move |seen| seen.observe(count(&looked_at, Level::Done), &[]))
            .build();
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

fn count(root: &Context, level: Level) -> i64 {
    let snapshot = root.snapshot();
    let entries = snapshot.entries().iter().filter(|entry| entry.level == level);
    i64::try_from(entries.count()).unwrap_or(i64::MAX)
}
