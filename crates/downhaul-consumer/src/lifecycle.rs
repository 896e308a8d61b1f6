//! The states of a consumer and of its link, and what it is asked to be.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

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
    /// A source is open.
    Up,
    /// The link was lost or could not be opened, and is tried again.
    Recovering {
        /// Since when.
        since: SystemTime,
        /// How many attempts have failed.
        attempt: u32,
        /// The latest error, on one line.
        error: Arc<str>,
    },
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
    /// The version of the wish that this answers.
    pub(crate) answers: u64,
}

/// What a consumer is asked to be. The latest wish counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Run,
    Pause,
    /// Stop when everything that has arrived is finished.
    Drain,
    /// Stop when everything that is begun is finished.
    Stop,
}

impl Wanted {
    pub(crate) fn is_stop(self) -> bool {
        matches!(self, Self::Drain | Self::Stop)
    }

    /// Whether a consumer in `state` has become what was asked, or cannot.
    pub(crate) fn is_met_by(self, state: State) -> bool {
        match self {
            Self::Run => matches!(state, State::Running | State::Failed | State::Stopped),
            Self::Pause => matches!(state, State::Paused | State::Failed | State::Stopped),
            Self::Drain | Self::Stop => matches!(state, State::Stopped | State::Failed),
        }
    }
}

/// A wish with its version, so that an answer can be told from one to an earlier wish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) wanted: Wanted,
    pub(crate) version: u64,
}
