//! [`Departure`]: how a client is seen to leave where hyper does not look.
//!
//! While a handler works, hyper reads on, and the end of the stream tells it that the client is
//! gone. It does not read where it has bytes already: the next request, or a body that nobody
//! takes. The system knows of the end all the same, and tells it to a second descriptor of the
//! socket, from which nothing is read.

use std::io;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures_core::future::BoxFuture;
use tokio::time::sleep;

use crate::listen::transport::Transport;

/// How long a client that has closed its sending side is still answered. It may be one that has
/// said all and listens, as shells and test tools do, or one that has left: the socket looks the
/// same. Handlers mostly take less, and what is done for nobody is not done for long.
pub(crate) const HALF_CLOSED: Duration = Duration::from_millis(500);

pub(crate) struct Departure(BoxFuture<'static, ()>);

impl Departure {
    pub(crate) fn of(transport: &Transport) -> io::Result<Self> {
        transport.second().map(|second| Self(Box::pin(closed(second))))
    }

    /// Ready once the connection is broken, or [`HALF_CLOSED`] after the client closed its side.
    pub(crate) fn poll_seen(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

async fn closed(second: Transport) {
    while let Ok(seen) = second.readable().await {
        if seen.is_write_closed() {
            return;
        }
        if seen.is_read_closed() {
            return sleep(HALF_CLOSED).await;
        }
        // Bytes came, which are hyper's.
        second.pass_over();
    }
}
