//! [`Counts`]: what a proxy has seen.

use super::weather::Way;

/// What has passed a proxy since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that are open.
    pub open: u64,
    /// Connections that a fault has ended.
    pub cut: u64,
    /// From clients.
    pub to_upstream: Traffic,
    /// To clients.
    pub to_client: Traffic,
}

/// Bytes that go one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// What the proxy has taken in.
    pub taken: u64,
    /// What it has passed on.
    pub passed: u64,
}

impl Counts {
    /// Connections that have ended, for whatever reason.
    pub fn ended(&self) -> u64 {
        self.accepted - self.open
    }

    pub(super) fn way(&mut self, way: Way) -> &mut Traffic {
        match way {
            Way::ToUpstream => &mut self.to_upstream,
            Way::ToClient => &mut self.to_client,
        }
    }
}
