//! [`Address`]: where a server listens, or where a client comes from.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// One end of a connection.
///
/// # Examples
///
/// ```
/// use downhaul_http::Address;
/// use std::net::SocketAddr;
///
/// let address = Address::from(SocketAddr::from(([127, 0, 0, 1], 8080)));
/// assert_eq!(address.to_string(), "127.0.0.1:8080");
/// assert!(address.is_local());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// Over TCP.
    Tcp(SocketAddr),
    /// A Unix socket, by its path; clients mostly have none.
    Unix(Option<Arc<Path>>),
    /// In the memory of this process; see [`Listener::in_memory`](crate::Listener::in_memory).
    Memory,
}

impl Address {
    /// The address of TCP, if it is one.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            _ => None,
        }
    }

    /// The IP address, if it has one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.tcp().map(|address| address.ip())
    }

    /// Whether only this machine can be there: a loopback address, a Unix socket, memory.
    pub fn is_local(&self) -> bool {
        self.ip().is_none_or(|ip| ip.to_canonical().is_loopback())
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

/// `127.0.0.1:8080`, `[::1]:8080`, `unix:/run/orders.sock`, `unix`, `memory`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            Self::Unix(None) => f.write_str("unix"),
            Self::Memory => f.write_str("memory"),
        }
    }
}
