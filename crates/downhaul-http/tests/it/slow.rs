//! Clients that read little at a time.

use std::time::Duration;

use bytes::Bytes;
use downhaul_context::Context;
use downhaul_http::{Request, Router};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::support::{Fixture, get, soon};

/// The system has room for megabytes, and says that there is more only when a third of it is free.
/// That takes this client longer than the limit.
#[tokio::test]
async fn one_that_reads_all_the_time_is_not_taken_for_stuck() {
    const ALL: usize = 6 << 20;
    let large = Bytes::from(vec![b'.'; ALL]);
    let router = Router::new().get("/", move |_: Context, _: Request| {
        let large = large.clone();
        async { large }
    });
    let limit = Duration::from_millis(400);
    let server = Fixture::with(router, |server| server.write_timeout(limit)).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(32_768).unwrap();
    let address = server.running.address().tcp().unwrap();
    let mut client = soon(socket.connect(address)).await.unwrap();
    client.write_all(get("/").as_bytes()).await.unwrap();
    let (mut piece, mut count) = ([0; 16_384], 0);
    while count < ALL {
        let read = soon(client.read(&mut piece)).await.unwrap();
        assert!(read > 0, "cut off after {count} bytes");
        count += read;
        // tidy: it takes its time, some 1.6 MB a second
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
