//! The ports of one node.

use std::io;

use crate::ports::{candidate, free};

/// The ports of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) amqp: u16,
    pub(super) distribution: u16,
    pub(super) epmd: u16,
    /// The first of [`CTL_PORTS`] where `rabbitmqctl` listens while it runs.
    pub(super) ctl: u16,
}

/// How many `rabbitmqctl` may talk to one node at once.
pub(super) const CTL_PORTS: u16 = 40;

impl Ports {
    /// Ports that were free a moment ago. Another process can be faster: callers try again.
    pub(super) fn free() -> io::Result<Self> {
        let [amqp, distribution, epmd] = free()?;
        // `rabbitmqctl` skips what is taken by itself.
        Ok(Self { amqp, distribution, epmd, ctl: candidate(CTL_PORTS) })
    }
}
