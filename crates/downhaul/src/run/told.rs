//! [`Told`]: why an app stops.

use downhaul_context::Reason;

use crate::report::{ComponentReport, Ending};
use crate::signal::Signal;

/// Why an app stops.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Signal(Signal),
    /// The program asked for it, in these words.
    Asked(String),
    /// A component that the app needs has failed for good, in these words.
    Failed {
        name: String,
        error: String,
        starting: bool,
    },
    /// A component has done what the app is for.
    Done(String),
}

impl Told {
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Signal(signal) => signal.to_string(),
            Self::Asked(words) => words.clone(),
            Self::Failed { name, error, .. } => format!("{name}: {error}"),
            Self::Done(name) => format!("{name} is done"),
        }
    }

    /// The component whose failure it is.
    pub(crate) fn culprit(&self) -> Option<&str> {
        match self {
            Self::Failed { name, .. } => Some(name),
            Self::Signal(_) | Self::Asked(_) | Self::Done(_) => None,
        }
    }

    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Signal(signal) => Reason::signal(signal.to_string()),
            Self::Asked(words) => Reason::operator(words.clone()),
            Self::Failed { name, error, .. } => {
                Reason::component_failed(name.clone(), error.clone())
            }
            Self::Done(_) => Reason::cancelled(self.words()),
        }
    }

    pub(crate) fn ending(&self, forced: Option<Signal>, components: &[ComponentReport]) -> Ending {
        match (forced, self) {
            (Some(signal), _) => Ending::Forced(signal),
            (None, Self::Failed { starting: true, .. }) => Ending::NotStarted(self.words()),
            (None, Self::Failed { .. }) => Ending::Failed(self.words()),
            (None, _) if components.iter().any(ComponentReport::is_cut_short) => Ending::CutShort,
            (None, _) => Ending::Clean,
        }
    }
}
