//! [`Door`]: a port that can be shut without being lost.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 128;

#[derive(Debug)]
pub(super) struct Door {
    address: SocketAddr,
    /// Bound and never listening: it keeps the port while nobody listens, and the system refuses.
    _lock: TcpSocket,
    listener: Mutex<Option<TcpListener>>,
    opened: Notify,
}

impl Door {
    pub(super) fn open() -> io::Result<Self> {
        let lock = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = lock.local_addr()?;
        let listener = Mutex::new(Some(bound(address)?.listen(BACKLOG)?));
        Ok(Self { address, _lock: lock, listener, opened: Notify::new() })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// When this returns, connecting fails.
    pub(super) fn close(&self) {
        *self.listener() = None;
    }

    /// When this returns, connecting succeeds.
    pub(super) fn reopen(&self) -> io::Result<()> {
        let mut listener = self.listener();
        if listener.is_none() {
            *listener = Some(bound(self.address)?.listen(BACKLOG)?);
            self.opened.notify_one();
        }
        Ok(())
    }

    /// Waits for a connection, also while the door is shut. Cancel safe.
    pub(super) async fn accept(&self) -> TcpStream {
        loop {
            let accepted = poll_fn(|cx| match &*self.listener() {
                Some(listener) => listener.poll_accept(cx),
                None => Poll::Pending,
            });
            tokio::select! {
                // One that failed was given up by its client before we looked.
                accepted = accepted => if let Ok((stream, _)) = accepted { return stream },
                () = self.opened.notified() => {}
            }
        }
    }

    fn listener(&self) -> MutexGuard<'_, Option<TcpListener>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Several sockets may be bound to one address as long as one at most listens.
fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
