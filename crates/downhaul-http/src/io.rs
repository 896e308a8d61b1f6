//! [`Io`]: a client's socket that tells its [`Link`] what moves, and which of the two protocols the
//! client speaks.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::link::Link;

/// What an HTTP/2 client sends first (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

pub(crate) struct Io {
    tcp: TcpStream,
    link: Arc<Link>,
    /// The bytes read to find out the protocol, given back to the first reader.
    begun: [u8; PREFACE.len()],
    filled: usize,
    given_back: usize,
}

impl Io {
    pub(crate) fn new(tcp: TcpStream, link: Arc<Link>) -> Self {
        Self { tcp, link, begun: [0; PREFACE.len()], filled: 0, given_back: 0 }
    }

    /// Reads as many bytes as it takes to tell the protocols apart: one, for most methods.
    ///
    /// A client that closes early speaks HTTP/1, whose parser finds the right words for it.
    pub(crate) fn poll_protocol(&mut self, cx: &mut TaskContext<'_>) -> Poll<io::Result<Protocol>> {
        loop {
            if self.begun[..self.filled] != PREFACE[..self.filled] {
                return Poll::Ready(Ok(Protocol::Http1));
            }
            if self.filled == PREFACE.len() {
                return Poll::Ready(Ok(Protocol::Http2));
            }
            let mut rest = ReadBuf::new(&mut self.begun[self.filled..]);
            ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut rest))?;
            let read = rest.filled().len();
            if read == 0 {
                return Poll::Ready(Ok(Protocol::Http1));
            }
            self.filled += read;
            self.link.bytes_came();
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let begun = &this.begun[this.given_back..this.filled];
        if !begun.is_empty() {
            let given = begun.len().min(buf.remaining());
            buf.put_slice(&begun[..given]);
            this.given_back += given;
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.tcp).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            this.link.bytes_came();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.tcp).poll_write(cx, bytes))?;
        this.link.bytes_moved();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.tcp).poll_write_vectored(cx, pieces))?;
        this.link.bytes_moved();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    /// hyper comes here only when it has nothing left in its own buffer.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.tcp).poll_flush(cx))?;
        this.link.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}
