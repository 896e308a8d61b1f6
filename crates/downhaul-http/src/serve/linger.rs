//! [`Linger`]: reading on after the last byte was written, until the client has closed, too.
//!
//! A socket that is closed over bytes which nobody has read is reset, and the client, who may
//! still send, loses what it has not read yet: the answer that refuses its body, or the rest of a
//! download while it makes room for more, as clients of HTTP/2 do to the end.

use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::listen::transport::Transport;

/// How long a client may stay.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// Without a byte.
    silent: Duration,
    whole: Duration,
}

/// With a client that was refused while it sent, or has broken the protocol.
pub(super) const SHORT: Patience =
    Patience { silent: Duration::from_secs(1), whole: Duration::from_secs(1) };

/// With one that may be reading what was written; as nginx has it (`lingering_timeout` and
/// `lingering_time`).
pub(super) const LONG: Patience =
    Patience { silent: Duration::from_secs(5), whole: Duration::from_secs(30) };

pub(super) struct Linger {
    patience: Patience,
    end: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Linger {
    pub(super) fn begin(patience: Patience) -> Self {
        let now = Instant::now();
        let timer = Box::pin(sleep_until(now + patience.silent));
        Self { patience, end: now + patience.whole, timer }
    }

    /// Throws away what the client sends until it closes, or may not stay any longer.
    pub(super) fn poll(&mut self, transport: &mut Transport, cx: &mut TaskContext<'_>) -> Poll<()> {
        let mut waste = [0; 4096];
        // Time is looked at first: a client that never stops sending is not waited for.
        while self.timer.as_mut().poll(cx).is_pending() {
            let mut waste = ReadBuf::new(&mut waste);
            let read = ready!(Pin::new(&mut *transport).poll_read(cx, &mut waste));
            if read.is_err() || waste.filled().is_empty() {
                break;
            }
            let silent = Instant::now() + self.patience.silent;
            self.timer.as_mut().reset(silent.min(self.end));
        }
        Poll::Ready(())
    }
}
