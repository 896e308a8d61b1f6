//! [`Io`]: a client's connection that tells its [`Link`] what moves.

use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use futures_core::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::listen::transport::Transport;
use crate::serve::departure::{Departure, HALF_CLOSED};
use crate::serve::hub::{Stage, reached};
use crate::serve::linger::{LONG, Linger, Patience, SHORT};
use crate::serve::link::Link;
use crate::serve::preface::{Preface, Protocol};

/// Waits until the server closes by force.
type Forced = Option<BoxFuture<'static, ()>>;

pub(crate) struct Io {
    transport: Transport,
    link: Arc<Link>,
    preface: Preface,
    /// Whether hyper waits for bytes since its last turn, so that it will see the end of them.
    is_read: bool,
    /// There while hyper does not look.
    departure: Option<Departure>,
    /// Whether the last write, or the last flush, found no room.
    is_stuck: bool,
    /// What the transport had [taken](Transport::taken) at the last flush.
    taken: u64,
    /// Whether the end was seen while there was no request.
    is_at_end: bool,
    /// Armed while a client that has closed its side may still take its answer.
    half_closed: Option<Pin<Box<Sleep>>>,
    /// Armed while a read, or a write, of what is upgraded waits: nobody else would wake it. Who
    /// reads and who writes may be two tasks.
    forced_read: Forced,
    forced_write: Forced,
    /// Whether what is upgraded can be closed while nobody reads or writes.
    is_held: bool,
    /// There once all is written, while what the client still sends is thrown away.
    linger: Option<Linger>,
}

impl Io {
    pub(crate) fn new(transport: Transport, link: Arc<Link>) -> Self {
        Self {
            transport,
            link,
            preface: Preface::default(),
            is_read: false,
            departure: None,
            is_stuck: false,
            taken: 0,
            is_at_end: false,
            half_closed: None,
            forced_read: None,
            forced_write: None,
            is_held: false,
            linger: None,
        }
    }

    /// Finds out what the client speaks. What was agreed on in a handshake counts, whatever comes.
    pub(crate) fn poll_protocol(&mut self, cx: &mut TaskContext<'_>) -> Poll<io::Result<Protocol>> {
        let seen = ready!(self.preface.poll_protocol(&mut self.transport, &self.link, cx))?;
        Poll::Ready(Ok(match self.transport.agreed() {
            Some(b"h2") => Protocol::Http2,
            Some(b"http/1.1") => Protocol::Http1,
            _ => seen,
        }))
    }

    /// Fails once the client is gone, where hyper does not find out by itself.
    fn poll_departure(&mut self, cx: &mut TaskContext<'_>) -> io::Result<()> {
        let is_read = mem::take(&mut self.is_read);
        if is_read || !self.link.is_answering_one() {
            self.departure = None;
            return Ok(());
        }
        if self.departure.is_none() {
            // Without a descriptor to spare it is seen at the next write.
            self.departure = Departure::of(&self.transport).ok();
        }
        let seen =
            self.departure.as_mut().is_some_and(|departure| departure.poll_seen(cx).is_ready());
        if seen { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// The client has closed its side: hyper, which takes it for gone then, is told later if there
    /// is an answer on its way.
    fn poll_half_closed(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        if !self.link.is_answering_one() {
            if mem::replace(&mut self.is_at_end, true) {
                return Poll::Ready(());
            }
            // A request that hyper has just read begins in the rest of this turn.
            cx.waker().wake_by_ref();
            self.is_read = true;
            return Poll::Pending;
        }
        let time = self.half_closed.get_or_insert_with(|| Box::pin(sleep(HALF_CLOSED)));
        let over = time.as_mut().poll(cx);
        self.is_read = over.is_pending();
        over
    }

    /// What a write has come to. Fails once the server closes by force what is upgraded.
    fn written(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<io::Result<usize>> {
        self.note(&written);
        let may_be_forced = written.is_pending() || self.link.hub.has_reached(Stage::Closed);
        if may_be_forced && poll_forced(&mut self.forced_write, &self.link, cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        written
    }

    /// Notes whether the client takes what is written.
    fn note(&mut self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Pending => self.stick(),
            Poll::Ready(_) => {
                self.unstick();
                self.link.bytes_moved();
            }
        }
    }

    fn stick(&mut self) {
        self.is_stuck = true;
        self.link.clocks.stuck();
    }

    fn unstick(&mut self) {
        if mem::take(&mut self.is_stuck) {
            self.link.clocks.unstuck();
        }
    }

    /// Notes whether the client takes what was written and not sent.
    fn note_flush(&mut self, is_pending: bool) {
        let before = mem::replace(&mut self.taken, self.transport.taken());
        if !is_pending || before != self.taken {
            self.unstick();
        }
        if is_pending {
            self.stick();
        }
    }

    /// Lets the server close by force what is upgraded while nobody reads or writes. hyper flushes
    /// the answer that upgrades before it hands the connection over.
    fn hold_upgraded(&mut self) {
        if self.is_held || !self.link.upgraded.is_kept() {
            return;
        }
        self.is_held = true;
        // Without a descriptor to spare it is closed when somebody does.
        if let Ok(closer) = self.transport.closer() {
            self.link.upgraded.hold(closer);
        }
        if self.link.hub.has_reached(Stage::Closed) {
            self.link.upgraded.close();
        }
    }

    /// How long the client may stay when all is written, if it may be sending.
    fn patience(&self) -> Option<Patience> {
        if self.link.is_multiplexed() {
            return Some(if self.link.clocks.is_told_to_go() { LONG } else { SHORT });
        }
        self.link.has_unread_body().then_some(SHORT)
    }
}

/// Ready once the server closes by force what is upgraded.
fn poll_forced(forced: &mut Forced, link: &Link, cx: &mut TaskContext<'_>) -> Poll<()> {
    if !link.upgraded.is_kept() {
        return Poll::Pending;
    }
    let forced = forced.get_or_insert_with(|| {
        let mut stages = link.hub.stages();
        Box::pin(async move { reached(&mut stages, Stage::Closed).await })
    });
    forced.as_mut().poll(cx)
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.preface.give_back(buf) {
            // What else has come goes with it: after a few bytes alone, hyper makes more room than
            // it will ever need. An end or an error is met by the next read again.
            let _ = Pin::new(&mut this.transport).poll_read(cx, buf);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.transport).poll_read(cx, buf);
        this.is_read = read.is_pending();
        // What is closed by force is not to look as if the client had closed it.
        let may_be_forced = read.is_pending() || this.link.hub.has_reached(Stage::Closed);
        if may_be_forced && poll_forced(&mut this.forced_read, &this.link, cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        ready!(read)?;
        if buf.filled().len() > before {
            this.link.bytes_came();
        } else if buf.remaining() > 0 {
            ready!(this.poll_half_closed(cx));
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
        let written = Pin::new(&mut this.transport).poll_write(cx, bytes);
        this.written(written, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.transport).poll_write_vectored(cx, pieces);
        this.written(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    /// hyper comes here at the end of each turn, if it has nothing left in its own buffer.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.transport).poll_flush(cx);
        this.note_flush(flushed.is_pending());
        ready!(flushed)?;
        this.link.clocks.flushed();
        this.hold_upgraded();
        Poll::Ready(this.poll_departure(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.transport).poll_shutdown(cx))?;
        }
        let Some(patience) = this.patience() else { return Poll::Ready(Ok(())) };
        this.link.clocks.linger();
        let linger = this.linger.get_or_insert_with(|| Linger::begin(patience));
        linger.poll(&mut this.transport, cx).map(Ok)
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        if self.link.ends_answer() {
            self.transport.end_with_reset();
        }
        self.link.upgraded.end();
    }
}
