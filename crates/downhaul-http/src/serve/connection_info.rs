//! [`ConnectionInfo`]: a connection as debug pages show it.

use std::fmt;
use std::time::Duration;

use crate::listen::address::Address;

/// A connection of a server, as debug pages show it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The other end of it.
    pub peer: Address,
    /// The time since it was accepted.
    pub age: Duration,
    /// How far it has come.
    pub phase: ConnectionPhase,
    /// The number of its requests in flight. A handler may outlive its client, so that a connection
    /// is listed whose socket is closed.
    pub requests: usize,
}

/// `127.0.0.1:50312, HTTP/2, 3 requests, 1200 ms old`.
impl fmt::Display for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, age, phase, requests } = self;
        let plural = if *requests == 1 { "" } else { "s" };
        write!(f, "{peer}, {phase}, {requests} request{plural}, {} ms old", age.as_millis())
    }
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionPhase {
    /// Nothing yet: its handshake is not done, or its client has not said enough to tell.
    Opening,
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Something else than HTTP, such as a WebSocket.
    Upgraded,
}

impl fmt::Display for ConnectionPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opening => "opening",
            Self::Http1 => "HTTP/1",
            Self::Http2 => "HTTP/2",
            Self::Upgraded => "upgraded",
        })
    }
}
