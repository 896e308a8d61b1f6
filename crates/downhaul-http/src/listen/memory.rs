//! [`Connector`]: connections in the memory of this process.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

use crate::listen::listener::Listener;

/// How many connections in memory wait to be accepted, before connecting waits.
const BACKLOG: usize = 128;

/// How many bytes a connection in memory holds in each direction, as much as a small socket.
const MEMORY: usize = 64 << 10;

/// Connects to a [`Listener::in_memory`]. Clones connect to the same one.
///
/// It outlives its listener, as an address does: a server that starts again
/// [listens](Self::listen) again.
#[derive(Clone, Debug)]
pub struct Connector(Arc<Mutex<mpsc::Sender<DuplexStream>>>);

impl Connector {
    pub(super) fn new() -> Self {
        let (nobody_listens, _) = mpsc::channel(BACKLOG);
        Self(Arc::new(Mutex::new(nobody_listens)))
    }

    /// A listener to which this one connects from now on. The one before gets no more connections.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul_http::Listener;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let (listener, connector) = Listener::in_memory();
    /// drop(listener);
    /// assert!(connector.connect().await.is_err());
    ///
    /// let _listener = connector.listen();
    /// assert!(connector.connect().await.is_ok());
    /// # }
    /// ```
    pub fn listen(&self) -> Listener {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = sender;
        Listener::memory(receiver)
    }

    /// A new connection, from the client's side.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::ConnectionRefused`] where nobody listens, or not any more.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future connects nothing.
    pub async fn connect(&self) -> io::Result<DuplexStream> {
        let (client, server) = duplex(MEMORY);
        let listener = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let refused = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
        listener.send(server).await.map_err(refused)?;
        Ok(client)
    }
}
