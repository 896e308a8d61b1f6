//! [`Transport`]: what carries a connection's bytes, as the system gives it.

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, Interest, ReadBuf, Ready};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
#[cfg(feature = "tls")]
use tokio_rustls::server::TlsStream;

#[cfg(feature = "tls")]
use crate::listen::counted::Counted;

/// One type for all: what is generic over a service is compiled for it once, and not once for each
/// kind of socket.
#[derive(Debug)]
pub(crate) enum Transport {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    Memory(DuplexStream),
    /// Encrypted, over one of the others.
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream<Counted>>),
}

/// Closes a socket. Fails where the other side is gone.
pub(crate) type Closer = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// Does the same with each kind of socket.
macro_rules! each {
    ($transport:expr, $socket:ident => $then:expr) => {
        match $transport {
            Transport::Tcp($socket) => $then,
            #[cfg(unix)]
            Transport::Unix($socket) => $then,
            Transport::Memory($socket) => $then,
            #[cfg(feature = "tls")]
            Transport::Tls($socket) => $then,
        }
    };
}

impl Transport {
    /// Another descriptor of the same socket. There is none of memory.
    #[cfg(unix)]
    pub(crate) fn second(&self) -> io::Result<Self> {
        use std::os::fd::AsFd;

        match self {
            Self::Tcp(tcp) => {
                TcpStream::from_std(tcp.as_fd().try_clone_to_owned()?.into()).map(Self::Tcp)
            }
            Self::Unix(unix) => {
                UnixStream::from_std(unix.as_fd().try_clone_to_owned()?.into()).map(Self::Unix)
            }
            Self::Memory(_) => Err(io::ErrorKind::Unsupported.into()),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.get_ref().0.transport.second(),
        }
    }

    /// As above, in the words of the system.
    #[cfg(windows)]
    pub(crate) fn second(&self) -> io::Result<Self> {
        use std::os::windows::io::AsSocket;

        match self {
            Self::Tcp(tcp) => {
                TcpStream::from_std(tcp.as_socket().try_clone_to_owned()?.into()).map(Self::Tcp)
            }
            Self::Memory(_) => Err(io::ErrorKind::Unsupported.into()),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.get_ref().0.transport.second(),
        }
    }

    /// Waits until the system has something to say about what can be read. For a
    /// [second](Self::second) descriptor.
    pub(crate) async fn readable(&self) -> io::Result<Ready> {
        match self {
            Self::Tcp(tcp) => tcp.ready(Interest::READABLE).await,
            #[cfg(unix)]
            Self::Unix(unix) => unix.ready(Interest::READABLE).await,
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Leaves the bytes that can be read where they are: [`readable`](Self::readable) then waits
    /// for more.
    pub(crate) fn pass_over(&self) {
        let not_for_us = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        // The error is what was asked for.
        let _ = match self {
            Self::Tcp(tcp) => tcp.try_io(Interest::READABLE, not_for_us),
            #[cfg(unix)]
            Self::Unix(unix) => unix.try_io(Interest::READABLE, not_for_us),
            _ => Ok(()),
        };
    }

    /// What was agreed on in the handshake, where there was one, as ALPN calls it.
    pub(crate) fn agreed(&self) -> Option<&[u8]> {
        #[cfg(feature = "tls")]
        if let Self::Tls(tls) = self {
            return tls.get_ref().1.alpn_protocol();
        }
        None
    }

    /// Grows with what the client takes of that which a [flush](AsyncWrite::poll_flush) waits for:
    /// under encryption, which takes what is written before it is sent.
    pub(crate) fn taken(&self) -> u64 {
        #[cfg(feature = "tls")]
        if let Self::Tls(tls) = self {
            return tls.get_ref().0.taken;
        }
        0
    }

    /// What closes the socket, whoever has it. It takes a descriptor, and there is none of memory.
    pub(crate) fn closer(&self) -> io::Result<Closer> {
        Ok(match self.second()? {
            Self::Tcp(tcp) => {
                let tcp = tcp.into_std()?;
                Box::new(move || tcp.shutdown(Shutdown::Both))
            }
            #[cfg(unix)]
            Self::Unix(unix) => {
                let unix = unix.into_std()?;
                Box::new(move || unix.shutdown(Shutdown::Both))
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        })
    }

    /// Makes its end a reset, where the system has such an end.
    pub(crate) fn end_with_reset(&self) {
        // Where it fails, the other side is gone.
        let _ = match self {
            Self::Tcp(tcp) => tcp.set_zero_linger(),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => return tls.get_ref().0.transport.end_with_reset(),
            _ => Ok(()),
        };
    }

    /// Sends what is written at once: answers are written in one piece, and waiting for more would
    /// only delay them. And takes no more than a little ahead of what was sent.
    pub(crate) fn tune(&self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.set_nodelay(true).and_then(|()| bound_unsent(tcp)),
            _ => Ok(()),
        }
    }
}

/// How much the system takes ahead of what was sent, in bytes. That a client takes something is
/// seen when half of it is free; without it, when a third of a buffer is that may have megabytes.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT: u32 = 128 * 1024;

#[cfg(any(target_os = "linux", target_os = "android"))]
fn bound_unsent(tcp: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(tcp).set_tcp_notsent_lowat(UNSENT)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn bound_unsent(_tcp: &TcpStream) -> io::Result<()> {
    Ok(())
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self.get_mut(), socket => Pin::new(socket).poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), socket => Pin::new(socket).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), socket => Pin::new(socket).poll_write_vectored(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, socket => socket.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), socket => Pin::new(socket).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), socket => Pin::new(socket).poll_shutdown(cx))
    }
}
