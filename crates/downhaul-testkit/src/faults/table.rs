//! [`Table`]: what a run was and what came of it, to be read by people.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::fault::Fault;
use crate::oracle::{Report, Summary};

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) took: Duration,
    pub(super) reconnects: u64,
    pub(super) redelivered: u64,
    longest_outage: Option<(Duration, Fault)>,
    faults: BTreeMap<&'static str, usize>,
    rounds: Vec<Summary>,
    violations: usize,
}

impl Table {
    pub(super) fn count(&mut self, fault: Fault) {
        *self.faults.entry(fault.kind()).or_default() += 1;
    }

    pub(super) fn add(&mut self, report: &Report) {
        self.rounds.push(report.summary);
        self.violations += report.violations.len();
    }

    /// Notes how long a queue was not worked off because of a fault.
    pub(super) fn outage(&mut self, time: Duration, fault: Fault) {
        if self.longest_outage.is_none_or(|(longest, _)| longest < time) {
            self.longest_outage = Some((time, fault));
        }
    }

    /// A run that met nothing has not failed, and is no proof.
    pub(super) fn assert_proves_something(&self, leaves_publishes_unknown: bool) {
        let sum = |part: fn(&Summary) -> usize| self.sum(part);
        let enough = sum(|all| all.confirmed) > 1_000 && sum(|all| all.dead) > 50;
        assert!(enough, "too little to prove anything: {self}");
        let has_repeated = !leaves_publishes_unknown || sum(|all| all.repeated) > 0;
        assert!(has_repeated && sum(after_a_loss) > 0, "the faults met nothing: {self}");
    }

    fn sum(&self, part: fn(&Summary) -> usize) -> usize {
        self.rounds.iter().map(part).sum()
    }

    fn faults(&self) -> String {
        let counts = self.faults.iter().map(|(kind, count)| format!("{kind} {count}"));
        let all: usize = self.faults.values().sum();
        format!("{all}: {}", counts.collect::<Vec<_>>().join(", "))
    }

    fn longest_outage(&self) -> String {
        let Some((time, fault)) = self.longest_outage else { return "none".to_owned() };
        format!("{time:.1?}, of {fault:?}")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |part: fn(&Summary) -> usize| self.sum(part);
        let rows: [(&str, String); 11] = [
            ("time", format!("{:.1?} in {} rounds", self.took, self.rounds.len())),
            ("faults", self.faults()),
            ("published", sum(|all| all.published).to_string()),
            ("confirmed", sum(|all| all.confirmed).to_string()),
            ("unknown, tried again", sum(|all| all.tries - all.published).to_string()),
            ("handled", sum(|all| all.handled).to_string()),
            ("dead letters", sum(|all| all.dead).to_string()),
            ("redelivered", self.redelivered.to_string()),
            (
                "handled again",
                format!(
                    "{}: {} as their handler wished, {} published again, {} after a loss",
                    sum(|all| all.again),
                    sum(|all| all.after_ends),
                    sum(|all| all.after_tries),
                    sum(after_a_loss)
                ),
            ),
            ("connections made anew", self.reconnects.to_string()),
            ("longest outage", self.longest_outage()),
        ];
        rows.iter().try_for_each(|(name, value)| writeln!(f, "{name:>22}  {value}"))?;
        write!(f, "{:>22}  {}", "broken promises", self.violations)
    }
}

/// Handlings that a lost link explains, or a loss that the client itself has told.
fn after_a_loss(all: &Summary) -> usize {
    all.after_losses + all.after_causes
}
