//! Ports that nobody listens on.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::unique::random;

/// Below the ports that systems hand to outgoing connections (32768 on Linux). A port from there
/// could be taken while the node is down, or worse: a client that reconnects to it in a loop can
/// be given the same port as its own and connect to itself.
const FIRST: u16 = 12_000;
const LAST: u16 = 32_000;

/// Ports that were free a moment ago, all different. Another process can be faster: callers try
/// again.
pub(crate) fn free<const N: usize>() -> io::Result<[u16; N]> {
    // Held together until all are known, or one port could be found twice.
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = listen()?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

fn listen() -> io::Result<TcpListener> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..100 {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, candidate(1))) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The first of `span` ports, none of which has been tried.
pub(crate) fn candidate(span: u16) -> u16 {
    let starts = u64::from(LAST - FIRST - span);
    FIRST + u16::try_from(random() % starts).unwrap_or_default()
}

/// A connection to a port of this machine, if it is there within a second. Reading from it ends
/// after 5 seconds.
pub(crate) fn connect(port: u16) -> Option<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    Some(stream)
}
