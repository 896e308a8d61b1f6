//! [`Report`]: what stopped, what did not, and how long it took.

use std::fmt;
use std::process::{ExitCode, Termination};
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::error::plain;
use crate::signal::Signal;

/// How a run of an app ended.
///
/// Its `Display` is for people: one line for the whole and one for each component, in the order in
/// which they stopped, whatever their words are. It serializes for programs, with durations in
/// milliseconds.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The name of the app.
    pub app: String,
    /// What ended the run, in words.
    pub cause: String,
    /// How it ended.
    pub ending: Ending,
    /// From the first word to stop until all was over.
    #[serde(rename = "took_ms", serialize_with = "millis")]
    pub took: Duration,
    /// What it was allowed to take.
    #[serde(rename = "grace_ms", serialize_with = "millis")]
    pub grace: Duration,
    /// Each component, in the order in which they stopped; last those that were not up.
    pub components: Vec<ComponentReport>,
    /// What telemetry could not export in time, if anything: it is lost, and the exit code does not
    /// tell of it.
    pub telemetry: Option<String>,
    /// The component whose failure is the cause, if one's is.
    #[serde(skip)]
    pub(crate) culprit: Option<String>,
}

/// How an app ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ending {
    /// Everything that was begun was finished.
    Clean,
    /// Not all was finished: something was cut short, or failed while it stopped, and is named.
    CutShort,
    /// A component failed; everything else was stopped in order.
    Failed(String),
    /// It could not start; what had started was stopped in order.
    NotStarted(String),
    /// A second signal cut it short.
    Forced(Signal),
}

impl Ending {
    /// As it is serialized, without the words: the cause has them.
    fn name(&self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::CutShort => "cut_short",
            Self::Failed(_) => "failed",
            Self::NotStarted(_) => "not_started",
            Self::Forced(_) => "forced",
        }
    }
}

/// How one component stopped.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ComponentReport {
    /// Its name.
    pub name: String,
    /// Whether it stopped by itself, or was told to stop at once, or was left behind.
    pub outcome: Outcome,
    /// What it says of its last work.
    pub words: String,
    /// How long it took.
    #[serde(rename = "took_ms", serialize_with = "millis")]
    pub took: Duration,
    /// How long it was allowed to take.
    #[serde(rename = "allowed_ms", serialize_with = "millis")]
    pub allowed: Duration,
    /// What was not finished, one line each.
    pub unfinished: Vec<String>,
    /// How often it was started.
    pub starts: u32,
    /// Why it failed last, if it did.
    pub error: Option<String>,
}

impl ComponentReport {
    /// Whether it did not come to its end by itself, or left work unfinished.
    pub(crate) fn is_cut_short(&self) -> bool {
        let cut_short = matches!(self.outcome, Outcome::Cancelled | Outcome::Abandoned);
        cut_short || !self.unfinished.is_empty()
    }

    /// Whether it has times: one that was not up has none, nor one that was left where it was.
    fn was_asked_to_stop(&self) -> bool {
        match self.outcome {
            Outcome::NotRunning => false,
            Outcome::Abandoned => !(self.took.is_zero() && self.allowed.is_zero()),
            Outcome::Stopped | Outcome::Cancelled => true,
        }
    }

    pub(crate) fn new(name: &str, outcome: Outcome) -> Self {
        Self {
            name: name.to_owned(),
            outcome,
            words: String::new(),
            took: Duration::ZERO,
            allowed: Duration::ZERO,
            unfinished: Vec::new(),
            starts: 0,
            error: None,
        }
    }
}

/// Whether a component stopped by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It finished its work and stopped.
    Stopped,
    /// Its context had to be ended; it stopped then.
    Cancelled,
    /// It did not stop and was left behind.
    Abandoned,
    /// It was not up when the app stopped: it had not started, or had failed.
    NotRunning,
}

impl Report {
    /// The exit code: 0 for a clean end, 128 and the number of the signal for a forced one, else 1.
    pub fn exit_code(&self) -> u8 {
        match &self.ending {
            Ending::Clean => 0,
            Ending::CutShort | Ending::Failed(_) | Ending::NotStarted(_) => 1,
            Ending::Forced(signal) => signal.exit_code(),
        }
    }

    /// One line of fields for the log: what there is to know at a glance.
    pub(crate) fn log(&self) {
        let Self { app, cause, took, .. } = self;
        let ending = self.ending.name();
        let cut_short = self.components.iter().filter(|part| part.is_cut_short());
        let cut_short: Vec<_> = cut_short.map(|part| part.name.as_str()).collect();
        let cut_short = cut_short.join(", ");
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let exit_code = self.exit_code();
        if matches!(self.ending, Ending::NotStarted(_)) {
            tracing::error!(app, cause, ending, exit_code, took_ms, cut_short, "did not start");
        } else {
            tracing::info!(app, cause, ending, exit_code, took_ms, cut_short, "stopped");
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
        let Self { app, took, grace, .. } = self;
        let cause = plain(&self.cause);
        match &self.ending {
            Ending::Clean => write!(f, "{app} stopped cleanly, after {cause}")?,
            Ending::CutShort => write!(f, "{app} did not finish all, after {cause}")?,
            Ending::Failed(why) => write!(f, "{app} failed: {}", plain(why))?,
            Ending::NotStarted(why) => {
                self.not_started(why, f)?;
                return self.lost(f);
            }
            Ending::Forced(signal) => {
                write!(f, "{app} was forced to stop by a second signal, {signal}")?;
            }
        }
        write!(f, " ({} of {} used)", Seconds(*took), Seconds(*grace))?;
        self.components.iter().try_for_each(|component| write!(f, "\n{component}"))?;
        self.lost(f)
    }
}

impl Report {
    fn lost(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.telemetry.iter().try_for_each(|lost| write!(f, "\n  telemetry    {}", plain(lost)))
    }

    /// Only what there is to say over the cause: others that failed too, or did not stop.
    fn not_started(&self, why: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} did not start: {}", self.app, plain(why))?;
        let said = |part: &ComponentReport| {
            part.error.is_none() || self.culprit.as_ref() == Some(&part.name)
        };
        let left = |part: &ComponentReport| {
            matches!(part.outcome, Outcome::Cancelled | Outcome::Abandoned)
        };
        let more = self.components.iter().filter(|part| left(part) || !said(part));
        more.into_iter().try_for_each(|component| write!(f, "\n{component}"))
    }
}

impl fmt::Display for ComponentReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = match self.outcome {
            Outcome::Stopped => "stopped",
            Outcome::Cancelled => "cancelled",
            Outcome::Abandoned => "abandoned",
            Outcome::NotRunning => "not running",
        };
        write!(f, "  {:<12} ", self.name)?;
        match self.was_asked_to_stop() {
            true => {
                let (took, allowed) = (Seconds(self.took), Seconds(self.allowed));
                write!(f, "{outcome:<9} in {took} of {allowed}")?;
            }
            false => f.write_str(outcome)?,
        }
        if !self.words.is_empty() {
            write!(f, ": {}", plain(&self.words))?;
        }
        if let Some(error) = self.error.as_ref().filter(|error| !self.words.contains(*error)) {
            write!(f, "\n    failed: {}", plain(error))?;
        }
        if self.starts > 1 {
            write!(f, "\n    started {} times", self.starts)?;
        }
        let mut unfinished = self.unfinished.iter();
        unfinished.try_for_each(|line| write!(f, "\n    not finished: {}", plain(line)))
    }
}

fn millis<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Seconds with two digits, for people.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} s", self.0.as_secs_f64())
    }
}
