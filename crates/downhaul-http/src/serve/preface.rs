//! [`Preface`]: the first bytes of a connection, which tell the two protocols apart.

use std::io;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use crate::listen::transport::Transport;
use crate::serve::link::Link;

/// What an HTTP/2 client sends first (RFC 9113 §3.4).
const HTTP2: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// The bytes that were read to find out the protocol, given back to the first reader.
#[derive(Default)]
pub(super) struct Preface {
    bytes: [u8; HTTP2.len()],
    filled: usize,
    given_back: usize,
}

impl Preface {
    /// Reads as many bytes as it takes to tell the protocols apart: one, for most methods.
    ///
    /// A client that closes early speaks HTTP/1, whose parser finds the right words for it.
    pub(super) fn poll_protocol(
        &mut self,
        transport: &mut Transport,
        link: &Link,
        cx: &mut TaskContext<'_>,
    ) -> Poll<io::Result<Protocol>> {
        loop {
            if self.bytes[..self.filled] != HTTP2[..self.filled] {
                return Poll::Ready(Ok(Protocol::Http1));
            }
            if self.filled == HTTP2.len() {
                return Poll::Ready(Ok(Protocol::Http2));
            }
            let mut rest = ReadBuf::new(&mut self.bytes[self.filled..]);
            ready!(Pin::new(&mut *transport).poll_read(cx, &mut rest))?;
            let read = rest.filled().len();
            if read == 0 {
                return Poll::Ready(Ok(Protocol::Http1));
            }
            self.filled += read;
            link.bytes_came();
        }
    }

    /// Gives back what `buf` has room for; false once a reader has had all of it.
    pub(super) fn give_back(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let left = &self.bytes[self.given_back..self.filled];
        let given = left.len().min(buf.remaining());
        buf.put_slice(&left[..given]);
        let was_left = !left.is_empty();
        self.given_back += given;
        was_left
    }
}
