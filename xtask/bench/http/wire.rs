//! [`Wire`]: a client of a server in memory, and the runtime of both.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};

use crate::lap::{Lap, Reading};

/// As browsers and proxies send it: what they add costs every server the same.
const REQUEST: &[u8] = b"GET /users/7 HTTP/1.1\r\nhost: bench.test\r\nuser-agent: bench\r\n\
    accept: */*\r\n\r\n";
const ANSWER: &[u8] = br#"{"id":7,"name":"ada"}"#;

/// Requests that come before the measured ones.
const WARM_UP: u32 = 8;

/// As much as a small socket takes.
pub(super) const BUFFER: usize = 64 << 10;

/// One connection, and who serves it. One thread uses it at a time.
pub(crate) struct Wire(Mutex<Ends>);

struct Ends {
    client: DuplexStream,
    runtime: Runtime,
}

impl Wire {
    /// Has `serve` make a server of one end, inside the runtime.
    pub(super) fn new(serve: impl FnOnce(DuplexStream)) -> Self {
        let runtime = runtime();
        let (client, server) = duplex(BUFFER);
        runtime.block_on(async { serve(server) });
        Self(Mutex::new(Ends { client, runtime }))
    }

    /// Takes the client's end of a connection from `connect`, which has made its server.
    pub(crate) fn connected(connect: impl AsyncFnOnce() -> DuplexStream) -> Self {
        let runtime = runtime();
        let client = runtime.block_on(connect());
        Self(Mutex::new(Ends { client, runtime }))
    }

    /// One request a turn, after another.
    pub(crate) fn ask(&self, lap: &Lap<'_>) -> Reading {
        let mut ends = self.ends();
        ends.ask(WARM_UP);
        lap.once(lap.turns, || ends.ask(lap.turns))
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ends {
    fn ask(&mut self, times: u32) {
        let Self { client, runtime } = self;
        runtime.block_on(async {
            for _ in 0..times {
                ask(client).await;
            }
        });
    }
}

pub(super) async fn ask(client: &mut DuplexStream) {
    client.write_all(REQUEST).await.expect("the server reads");
    let (mut answer, mut filled) = ([0; 1024], 0);
    while !answer[..filled].ends_with(ANSWER) {
        let read = client.read(&mut answer[filled..]).await.expect("the server answers");
        assert!(read > 0, "the server closed: {:?}", answer[..filled].utf8_chunks());
        filled += read;
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime can be made")
}
