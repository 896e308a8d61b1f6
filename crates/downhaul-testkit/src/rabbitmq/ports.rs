//! Ports that nobody listens on, and names that nobody else uses.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener};

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

/// Below the ports that systems hand to outgoing connections (32768 on Linux). A port from there
/// could be taken while the node is down, or worse: a client that reconnects to it in a loop can
/// be given the same port as its own and connect to itself.
const FIRST: u16 = 12_000;
const LAST: u16 = 32_000;

impl Ports {
    /// Ports that were free a moment ago. Another process can be faster: callers try again.
    pub(super) fn free() -> io::Result<Self> {
        // Held together until all are known, or one port could be found twice.
        let (amqp, distribution, epmd) = (listen()?, listen()?, listen()?);
        Ok(Self {
            amqp: port(&amqp)?,
            distribution: port(&distribution)?,
            epmd: port(&epmd)?,
            // `rabbitmqctl` skips what is taken by itself.
            ctl: candidate(),
        })
    }
}

fn listen() -> io::Result<TcpListener> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..100 {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, candidate())) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn port(listener: &TcpListener) -> io::Result<u16> {
    Ok(listener.local_addr()?.port())
}

fn candidate() -> u16 {
    let span = u64::from(LAST - FIRST - CTL_PORTS);
    FIRST + u16::try_from(random() % span).unwrap_or_default()
}

/// Random enough to tell nodes apart: std seeds each `RandomState` differently, per process too.
pub(super) fn random() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}
