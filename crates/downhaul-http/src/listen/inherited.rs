//! Sockets that a supervisor has opened for this process (`sd_listen_fds(3)`).

use std::io;

use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};

use crate::listen::listener::Listener;

pub(crate) fn listeners() -> io::Result<Vec<Listener>> {
    let mut sockets = ListenFd::from_env();
    (0..sockets.len()).map(|index| listener(&mut sockets, index)).collect()
}

fn listener(sockets: &mut ListenFd, index: usize) -> io::Result<Listener> {
    // What is not of this kind stays where it is.
    if let Ok(Some(tcp)) = sockets.take_tcp_listener(index) {
        tcp.set_nonblocking(true)?;
        return Listener::from_tcp(TcpListener::from_std(tcp)?);
    }
    let unix = sockets.take_unix_listener(index)?;
    let unix = unix.ok_or_else(|| io::Error::other("a socket was taken twice"))?;
    unix.set_nonblocking(true)?;
    Ok(Listener::from_unix(UnixListener::from_std(unix)?))
}
