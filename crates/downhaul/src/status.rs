//! [`Status`]: where a component is.

use std::fmt;

use downhaul_context::Instant;

/// Where a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Not started: what it needs is not up yet.
    Waiting,
    /// On its way up.
    Starting,
    /// At work.
    Running,
    /// Its work is done, though it was not told to stop. What needs it runs on.
    Done,
    /// On its way down.
    Stopping,
    /// Stopped, and to be started again if it is wanted.
    Stopped,
    /// Failed, and waiting to be started again.
    Resting,
    /// Failed for good.
    Failed,
}

impl State {
    /// Whether what needs it can run: [`Running`](Self::Running) or [`Done`](Self::Done).
    pub fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Done)
    }

    /// Whether nothing of it runs, or what does was left behind.
    pub(crate) fn is_down(self) -> bool {
        self.is_lost() || matches!(self, Self::Waiting | Self::Stopped)
    }

    /// Whether a failure keeps it down.
    pub(crate) fn is_lost(self) -> bool {
        matches!(self, Self::Resting | Self::Failed)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Resting => "resting",
            Self::Failed => "failed",
        })
    }
}

/// What is known of a component of a running app.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// Whether the app is ready only with it, and stops when it fails for good.
    pub essential: bool,
    /// How often it was started.
    pub starts: u32,
    /// Why it failed last.
    pub last_error: Option<String>,
    /// What it needs, by name.
    pub needs: Vec<String>,
    /// Whether it can be started again once it has stopped.
    pub can_restart: bool,
    /// An operator stopped it.
    pub(crate) held: bool,
    /// Nothing brings it up but somebody who asks for it.
    pub(crate) barred: bool,
}
