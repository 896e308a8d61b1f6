//! [`Report`]: what stopped, what did not, and how long it took.

use std::fmt;
use std::process::{ExitCode, Termination};
use std::time::Duration;

use crate::signal::Signal;

/// How a run of an app ended.
///
/// Its `Display` is for people: one line for the whole and one for each component, in the order in
/// which they stopped.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The name of the app.
    pub app: String,
    /// What ended the run, in words.
    pub cause: String,
    /// How it ended.
    pub ending: Ending,
    /// From the first word to stop until all was over.
    pub took: Duration,
    /// What it was allowed to take.
    pub grace: Duration,
    /// Each component that was started, in the order in which they stopped.
    pub components: Vec<ComponentReport>,
}

/// How an app ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// Everything that was begun was finished.
    Clean,
    /// Not all was finished in time: something was cut short, and is named.
    CutShort,
    /// It could not start, or a component failed; everything else was stopped in order.
    Failed(String),
    /// A second signal cut it short.
    Forced(Signal),
}

/// How one component stopped.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ComponentReport {
    /// Its name.
    pub name: String,
    /// Whether it stopped by itself, or was told to stop at once, or was left behind.
    pub outcome: Outcome,
    /// What it says of its last work.
    pub words: String,
    /// How long it took.
    pub took: Duration,
    /// How long it was allowed to take.
    pub allowed: Duration,
    /// What was not finished, one line each.
    pub unfinished: Vec<String>,
}

/// Whether a component stopped by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It finished its work and stopped.
    Stopped,
    /// Its context had to be ended; it stopped then.
    Cancelled,
    /// It did not stop and was left behind.
    Abandoned,
}

impl Report {
    /// The exit code: 0 for a clean end, 128 and the number of the signal for a forced one, else 1.
    pub fn exit_code(&self) -> u8 {
        match &self.ending {
            Ending::Clean => 0,
            Ending::CutShort | Ending::Failed(_) => 1,
            Ending::Forced(signal) => signal.exit_code(),
        }
    }

    /// Ends the process at once with the exit code.
    ///
    /// Does not wait for threads that block: a runtime would.
    pub fn exit(&self) -> ! {
        std::process::exit(i32::from(self.exit_code()))
    }
}

impl Termination for Report {
    fn report(self) -> ExitCode {
        ExitCode::from(self.exit_code())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { app, cause, took, grace, .. } = self;
        let ending = match &self.ending {
            Ending::Clean => "stopped cleanly".to_owned(),
            Ending::CutShort => "stopped, but not all was finished".to_owned(),
            Ending::Failed(why) => format!("failed: {why}"),
            Ending::Forced(signal) => format!("was forced to stop by a second signal, {signal}"),
        };
        write!(f, "{app} {ending}")?;
        if !matches!(self.ending, Ending::Failed(_)) {
            write!(f, ", after {cause}")?;
        }
        write!(f, " ({} of {} used)", Seconds(*took), Seconds(*grace))?;
        self.components.iter().try_for_each(|component| write!(f, "\n{component}"))
    }
}

impl fmt::Display for ComponentReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            Outcome::Stopped => "stopped",
            Outcome::Cancelled => "cancelled",
            Outcome::Abandoned => "abandoned",
        };
        let (took, allowed) = (Seconds(self.took), Seconds(self.allowed));
        write!(f, "  {:<12} {outcome:<9} in {took} of {allowed}", self.name)?;
        if !self.words.is_empty() {
            write!(f, ": {}", self.words)?;
        }
        self.unfinished.iter().try_for_each(|line| write!(f, "\n    not finished: {line}"))
    }
}

/// Seconds with two digits, for people.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} s", self.0.as_secs_f64())
    }
}
