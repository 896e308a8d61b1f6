//! [`Greeted`]: the clients whom the system has greeted when a listener closes.
//!
//! They are connected, and would be reset. The system itself is asked for them: whether the runtime
//! has heard of one depends on whose turn it is at its driver.

use std::io;

use tokio::io::DuplexStream;
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::listen::address::Address;
use crate::listen::transport::Transport;
#[cfg(unix)]
use crate::listen::unix::named;

/// Their connections, as many as there are. The listener takes more until this is dropped.
pub(crate) enum Greeted {
    Tcp(std::net::TcpListener),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener),
    Memory(mpsc::Receiver<DuplexStream>),
}

impl Greeted {
    fn accept(&mut self) -> io::Result<(Transport, Address)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Transport::Tcp(TcpStream::from_std(stream)?), peer.into()))
            }
            #[cfg(unix)]
            Self::Unix(listener) => {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Transport::Unix(UnixStream::from_std(stream)?), named(&peer.into())))
            }
            Self::Memory(connections) => {
                let stream = connections.try_recv().map_err(io::Error::other)?;
                Ok((Transport::Memory(stream), Address::Memory))
            }
        }
    }
}

impl Iterator for Greeted {
    type Item = (Transport, Address);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.accept() {
                // It is gone, and others may stand behind it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                accepted => return accepted.ok(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::listen::listener::Listener;

    /// The runtime has had no turn since they have come.
    #[tokio::test]
    async fn those_are_there_of_whom_the_runtime_has_not_heard() {
        let listener = Listener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.address().tcp().unwrap();
        let clients = [(); 3].map(|()| std::net::TcpStream::connect(address).unwrap());
        let peers = listener.greeted().map(|arrival| arrival.peer.tcp().unwrap());
        assert_eq!(peers.collect::<Vec<_>>(), clients.map(|client| client.local_addr().unwrap()));
        assert!(std::net::TcpStream::connect(address).is_err(), "it listens on");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn those_of_a_path_are_there_as_well_and_the_path_goes() {
        let path = std::env::temp_dir().join(format!("downhaul-{}.sock", std::process::id()));
        let listener = Listener::bind(&format!("unix:{}", path.display())).await.unwrap();
        let _clients = [(); 2].map(|()| std::os::unix::net::UnixStream::connect(&path).unwrap());
        assert_eq!(listener.greeted().count(), 2);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn those_in_memory_are_there_as_well() {
        let (listener, connector) = Listener::in_memory();
        let _client = connector.connect().await.unwrap();
        assert_eq!(listener.greeted().count(), 1);
        assert!(connector.connect().await.is_err());
    }
}
