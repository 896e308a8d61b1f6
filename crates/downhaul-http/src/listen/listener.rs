//! [`Listener`]: where a server takes its connections from.

use std::fmt;
use std::future::pending;
use std::io;

use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::error::BindError;
use crate::listen::address::Address;
use crate::listen::greeted::Greeted;
use crate::listen::memory::Connector;
#[cfg(feature = "tls")]
use crate::listen::tls::Tls;
use crate::listen::transport::Transport;
#[cfg(unix)]
use crate::listen::unix::UnixAcceptor;

/// An address that is listened on. A [`Server`](crate::Server) serves one or several.
///
/// Clients can connect from now on; they are answered once the server serves.
///
/// # Examples
///
/// ```
/// use downhaul_context::Context;
/// use downhaul_http::{Listener, Router, Server};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let public = Listener::bind("127.0.0.1:0").await?;
/// let (internal, connector) = Listener::in_memory();
/// let running = Server::on(public).and(internal).serve(Context::background(), Router::new());
///
/// let client = connector.connect().await?; // reads and writes bytes, as a socket does
/// # drop((client, running));
/// # Ok(()) }
/// ```
#[must_use = "give it to a server"]
pub struct Listener {
    acceptor: Acceptor,
    address: Address,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

enum Acceptor {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixAcceptor),
    Memory(mpsc::Receiver<DuplexStream>),
}

/// A connection that was accepted, before a byte of it was read.
pub(crate) struct Arrival {
    pub(crate) transport: Transport,
    pub(crate) peer: Address,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
}

impl Listener {
    /// Listens on an address such as `127.0.0.1:8080`, where port 0 lets the system choose; or, on
    /// Unix, on a path such as `unix:/run/orders.sock`, where a socket that a process has left
    /// behind is replaced. A path is removed when the listener is closed.
    ///
    /// # Errors
    ///
    /// [`BindError`], whose text is one line that names the address: it is in use, the machine has
    /// no such address, it is not permitted, or it is no address at all.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future stops listening.
    pub async fn bind(address: &str) -> Result<Self, BindError> {
        let bound = match address.strip_prefix("unix:") {
            Some(path) => Self::bind_path(path).await,
            None => TcpListener::bind(address).await.and_then(Self::from_tcp),
        };
        bound.map_err(|error| BindError::new(address.to_owned(), error))
    }

    #[cfg(unix)]
    async fn bind_path(path: &str) -> io::Result<Self> {
        UnixAcceptor::bind(path).await.map(Self::unix)
    }

    #[cfg(not(unix))]
    async fn bind_path(_path: &str) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Takes a listener that someone else made. Sockets of systemd: `Listener::inherited`.
    ///
    /// # Errors
    ///
    /// What the system says when the listener has no address.
    pub fn from_tcp(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?.into();
        Ok(Self::new(Acceptor::Tcp(listener), address))
    }

    /// Takes a listener that someone else made; its path is theirs to remove.
    #[cfg(unix)]
    pub fn from_unix(listener: tokio::net::UnixListener) -> Self {
        Self::unix(UnixAcceptor::of(listener))
    }

    #[cfg(unix)]
    fn unix(acceptor: UnixAcceptor) -> Self {
        let address = acceptor.address();
        Self::new(Acceptor::Unix(acceptor), address)
    }

    /// The sockets that systemd, or another supervisor that speaks its protocol, has opened for
    /// this process: those of the `.socket` unit, in its order. None where it has opened none.
    ///
    /// They are handed over once; a second call finds none.
    ///
    /// # Errors
    ///
    /// What the system says when one of them does not listen for a stream.
    #[cfg(all(unix, feature = "systemd"))]
    pub fn inherited() -> io::Result<Vec<Self>> {
        crate::listen::inherited::listeners()
    }

    /// A listener in the memory of this process, and the way to connect to it: for tests without
    /// ports, also under tokio's paused clock.
    pub fn in_memory() -> (Self, Connector) {
        let connector = Connector::new();
        (connector.listen(), connector)
    }

    /// Encrypts its connections. The handshake has the time of a head,
    /// [`Server::header_timeout`](crate::Server::header_timeout).
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    pub(super) fn memory(connections: mpsc::Receiver<DuplexStream>) -> Self {
        Self::new(Acceptor::Memory(connections), Address::Memory)
    }

    fn new(acceptor: Acceptor, address: Address) -> Self {
        Self {
            acceptor,
            address,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Where it listens, with the port that the system chose.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Where clients find it, such as `http://127.0.0.1:8080`, `https://[::1]:8443` or
    /// `unix:/run/orders.sock`.
    pub fn url(&self) -> String {
        #[cfg(feature = "tls")]
        let is_tls = self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let is_tls = false;
        match &self.address {
            Address::Tcp(address) if is_tls => format!("https://{address}"),
            Address::Tcp(address) => format!("http://{address}"),
            other => other.to_string(),
        }
    }

    /// Closes, after those clients whom the system has greeted already.
    pub(crate) fn greeted(self) -> impl Iterator<Item = Arrival> {
        let greeted = match self.acceptor {
            Acceptor::Tcp(tcp) => tcp.into_std().map(Greeted::Tcp),
            #[cfg(unix)]
            Acceptor::Unix(unix) => unix.into_std().map(Greeted::Unix),
            Acceptor::Memory(connections) => Ok(Greeted::Memory(connections)),
        };
        greeted.into_iter().flatten().map(move |(transport, peer)| Arrival {
            transport,
            peer,
            #[cfg(feature = "tls")]
            tls: self.tls.clone(),
        })
    }

    /// # Cancel safety
    ///
    /// Cancel safe: no connection is lost.
    pub(crate) async fn accept(&mut self) -> io::Result<Arrival> {
        let (transport, peer) = match &mut self.acceptor {
            Acceptor::Tcp(tcp) => {
                let (stream, peer) = tcp.accept().await?;
                (Transport::Tcp(stream), peer.into())
            }
            #[cfg(unix)]
            Acceptor::Unix(unix) => unix.accept().await?,
            Acceptor::Memory(connections) => match connections.recv().await {
                Some(stream) => (Transport::Memory(stream), Address::Memory),
                // Nobody can connect any more.
                None => pending().await,
            },
        };
        Ok(Arrival {
            transport,
            peer,
            #[cfg(feature = "tls")]
            tls: self.tls.clone(),
        })
    }
}

impl Arrival {
    /// What its requests are said to come by.
    pub(crate) fn scheme(&self) -> &'static str {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return "https";
        }
        "http"
    }

    /// The connection once it is encrypted, where its listener does that.
    #[cfg(feature = "tls")]
    pub(crate) async fn open(self) -> io::Result<Transport> {
        match self.tls {
            Some(tls) => tls.accept(self.transport).await,
            None => Ok(self.transport),
        }
    }

    /// The connection.
    #[cfg(not(feature = "tls"))]
    pub(crate) async fn open(self) -> io::Result<Transport> {
        Ok(self.transport)
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("url", &self.url()).finish_non_exhaustive()
    }
}
