//! The states of a consumer and of its link, and what it is asked to be.

mod report;
mod step;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

pub(crate) use crate::lifecycle::report::Stopping;
pub use crate::lifecycle::report::{StopReport, StopStage};
pub(crate) use crate::lifecycle::step::{Facts, Phase, step};
use crate::settings::Settings;

/// What a consumer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// It opens its source.
    Starting,
    /// It takes messages.
    Running,
    /// It takes nothing new and stays ready to go on; what was begun is finished.
    Paused,
    /// It takes nothing new and finishes what is begun, to stop.
    Draining,
    /// All is finished; it says goodbye to the broker.
    Closing,
    /// It does nothing and holds nothing. It can be started.
    Stopped,
    /// It could not start, and trying again without a change cannot help. It can be started.
    Failed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Draining => "draining",
            Self::Closing => "closing",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        })
    }
}

/// How things stand with the broker.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Link {
    /// No link is wanted.
    Closed,
    /// A source is open, and its broker answers as far as it knows.
    Up,
    /// The link was lost or could not be opened, and is tried again; or a source is open and waits
    /// for its broker, which does not answer.
    Recovering {
        /// Since when.
        since: SystemTime,
        /// How many attempts to open another have failed; 0 while a source waits for its broker.
        attempt: u32,
        /// The latest error, on one line.
        error: Arc<str>,
    },
}

impl Link {
    /// Whether nothing has changed, but for the words of an error.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Recovering { attempt, .. }, Self::Recovering { attempt: other, .. }) => {
                attempt == other
            }
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

/// State and link, as they are at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// What the consumer is doing.
    pub state: State,
    /// How things stand with the broker.
    pub link: Link,
    /// Why it failed, in state [`State::Failed`].
    pub failure: Option<Arc<str>>,
    /// What it was last asked to be. The state follows.
    pub wanted: Wanted,
    /// Until when it takes nothing because its [kill switch](crate::KillSwitch) is open.
    pub suspended_until: Option<Instant>,
    /// The version of the wish that this answers.
    pub(crate) answers: u64,
}

/// What a consumer is asked to be. The latest wish counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Wanted {
    /// Take messages.
    Run,
    /// Take nothing, and stay ready.
    Pause,
    /// Stop when everything that has arrived is finished.
    Drain,
    /// Stop when everything that is begun is finished.
    Stop,
    /// Stop now: the contexts of handlers end at once.
    Abort,
}

impl Wanted {
    pub(crate) fn is_stop(self) -> bool {
        matches!(self, Self::Drain | Self::Stop | Self::Abort)
    }

    /// Whether a consumer in `state` has become what was asked, or cannot.
    pub(crate) fn is_met_by(self, state: State) -> bool {
        match self {
            Self::Run => matches!(state, State::Running | State::Failed | State::Stopped),
            Self::Pause => matches!(state, State::Paused | State::Failed | State::Stopped),
            Self::Drain | Self::Stop | Self::Abort => {
                matches!(state, State::Stopped | State::Failed)
            }
        }
    }
}

/// A wish with its version, so that an answer can be told from one to an earlier wish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) wanted: Wanted,
    pub(crate) version: u64,
    /// How often it was asked to begin anew.
    pub(crate) restarts: u64,
    pub(crate) settings: Settings,
}
