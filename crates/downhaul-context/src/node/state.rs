//! [`State`]: what is behind a node's lock: who listens, and what has become of the node.

use crate::cause::Cause;
use crate::clock::Moment;
use crate::node::links::Links;

pub(super) struct State {
    pub(super) links: Links,
    pub(super) fate: Fate,
}

/// What has become of a node.
pub(super) enum Fate {
    /// Nothing yet. `since` is when its own deadline was set, never without one.
    Open {
        since: Moment,
    },
    Draining(Box<Drain>),
    Ended(Cause),
}

/// A node that drains, or did before it ended.
pub(super) struct Drain {
    pub(super) cause: Cause,
    pub(super) began: Moment,
    /// The end of the grace, which can only come nearer.
    pub(super) until: Moment,
    /// As in [`Fate::Open`].
    pub(super) since: Moment,
    pub(super) end: Option<Cause>,
}

impl State {
    pub(super) fn open(since: Moment) -> Self {
        Self { links: Links::default(), fate: Fate::Open { since } }
    }
}

impl Fate {
    /// The end, if it is written here.
    pub(super) fn end(&self) -> Option<&Cause> {
        match self {
            Self::Open { .. } => None,
            Self::Draining(drain) => drain.end.as_ref(),
            Self::Ended(cause) => Some(cause),
        }
    }

    /// Writes the end, which is not there yet.
    pub(super) fn set_end(&mut self, cause: Cause) {
        match self {
            Self::Draining(drain) => drain.end = Some(cause),
            Self::Open { .. } | Self::Ended(_) => *self = Self::Ended(cause),
        }
    }

    /// When the node's own deadline was set, unless it has ended.
    pub(super) fn since(&self) -> Option<Moment> {
        match self {
            Self::Open { since } => Some(*since),
            Self::Draining(drain) => Some(drain.since),
            Self::Ended(_) => None,
        }
    }

    pub(super) fn drain(&self) -> Option<&Drain> {
        match self {
            Self::Draining(drain) => Some(drain),
            Self::Open { .. } | Self::Ended(_) => None,
        }
    }
}

impl Drain {
    /// Why the node ends when the grace is over.
    pub(super) fn cause_of_end(&self) -> Cause {
        Cause::drain_grace_over(self.until, self.until.since(self.began), self.cause.clone())
    }
}
