//! [`StopReport`]: how a stop went, a line a stage.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::in_flight::InFlight;
use crate::lifecycle::step::Phase;
use crate::tally::Tally;

/// How the latest stop of a consumer went.
///
/// `Display` writes a line a stage, with the time it took and the time it had, a line for each
/// message that was still being handled at the end, and how many finished ones come again.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StopReport {
    /// What was done, in order.
    pub stages: Vec<StopStage>,
    /// What became of messages during the stop.
    pub tally: Tally,
    /// What was still being handled when the last budget was over. It comes again.
    pub abandoned: Vec<InFlight>,
    /// How many messages were finished and come again all the same, as far as the broker says so:
    /// of a partition, what lies behind one that is not finished.
    pub come_again: u64,
}

/// One stage of a stop.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopStage {
    /// `drain`, `cancel` or `close`.
    pub name: &'static str,
    /// How long it took.
    pub took: Duration,
    /// How long it might have taken.
    pub allowed: Duration,
}

impl StopReport {
    /// Whether nothing was cut short: every handler finished within the drain budget.
    pub fn is_clean(&self) -> bool {
        self.stages.iter().all(|stage| stage.name != "cancel") && self.abandoned.is_empty()
    }
}

impl fmt::Display for StopReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, stage) in self.stages.iter().enumerate() {
            let (took, allowed) = (stage.took.as_secs_f64(), stage.allowed.as_secs_f64());
            let line = format!("{:<6} {took:.3} s of {allowed:.3} s", stage.name);
            write!(f, "{}{line}", if index == 0 { "" } else { "\n" })?;
        }
        for message in &self.abandoned {
            let InFlight { message_id, request_id, attempt, .. } = message;
            write!(f, "\nleft   message {message_id}, request {request_id}, attempt {attempt}")?;
        }
        match self.come_again {
            0 => Ok(()),
            1 => write!(f, "\nagain  1 finished message comes again"),
            count => write!(f, "\nagain  {count} finished messages come again"),
        }
    }
}

/// A stop that is under way.
#[derive(Debug)]
pub(crate) struct Stopping {
    stages: Vec<StopStage>,
    current: Option<(&'static str, Instant, Duration)>,
    before: Tally,
    pub(crate) abandoned: Vec<InFlight>,
    pub(crate) come_again: u64,
}

impl Stopping {
    pub(crate) fn new(before: Tally) -> Self {
        Self { stages: Vec::new(), current: None, before, abandoned: Vec::new(), come_again: 0 }
    }

    /// Ends the stage before, and begins that of `phase`.
    pub(crate) fn enter(&mut self, phase: Phase, now: Instant, allowed: Duration) {
        if let Some((name, since, allowed)) = self.current.take() {
            let took = now.saturating_duration_since(since);
            self.stages.push(StopStage { name, took, allowed });
        }
        let name = match phase {
            Phase::Draining => "drain",
            Phase::Cancelling => "cancel",
            Phase::Closing => "close",
            _ => return,
        };
        self.current = Some((name, now, allowed));
    }

    /// The report, once the last stage is over.
    pub(crate) fn finish(mut self, now: Instant, after: Tally) -> StopReport {
        self.enter(Phase::Stopped, now, Duration::ZERO);
        let tally = after.since(&self.before);
        let Self { stages, abandoned, come_again, .. } = self;
        StopReport { stages, tally, abandoned, come_again }
    }
}
