//! [`Weather`]: the faults that there are now.

use std::num::NonZeroU32;
use std::time::Duration;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "there are no more directions")]
pub enum Direction {
    /// From clients to the broker.
    ToUpstream,
    /// From the broker to clients.
    ToClient,
    /// Both ways.
    Both,
}

/// How a connection is ended, on both of its sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "TCP has no more")]
pub enum Cut {
    /// In order (FIN): what has passed arrives, and then the end.
    Finish,
    /// By force (RST): what has not been read yet may be gone.
    #[default]
    Reset,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Weather {
    /// How often all connections were cut: a connection lives until the next time.
    pub(super) cuts: u64,
    pub(super) how: Cut,
    pub(super) to_upstream: Lane,
    pub(super) to_client: Lane,
}

/// The faults of one direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Lane {
    pub(super) blackhole: bool,
    pub(super) delay: Duration,
    /// Bytes a second.
    pub(super) rate: Option<NonZeroU32>,
    /// How many bytes may pass before a connection is ended.
    pub(super) left: Option<u64>,
}

/// One direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    ToUpstream,
    ToClient,
}

impl Weather {
    pub(super) fn heal(&mut self) {
        (self.to_upstream, self.to_client) = (Lane::default(), Lane::default());
    }

    pub(super) fn lane(&self, way: Way) -> &Lane {
        match way {
            Way::ToUpstream => &self.to_upstream,
            Way::ToClient => &self.to_client,
        }
    }

    pub(super) fn lane_mut(&mut self, way: Way) -> &mut Lane {
        match way {
            Way::ToUpstream => &mut self.to_upstream,
            Way::ToClient => &mut self.to_client,
        }
    }

    pub(super) fn lanes(&mut self, direction: Direction) -> impl Iterator<Item = &mut Lane> {
        let to_upstream = (direction != Direction::ToClient).then_some(&mut self.to_upstream);
        let to_client = (direction != Direction::ToUpstream).then_some(&mut self.to_client);
        to_upstream.into_iter().chain(to_client)
    }
}
