//! Clients that read little at a time.

use std::time::Duration;

use bytes::Bytes;
use downhaul_context::Context;
use downhaul_http::{DrainPlan, Request, Router, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::frames::{
    self, ACK, INITIAL_WINDOW_SIZE, PING, PREFACE, frame, settings, window_update,
};
use crate::support::{Fixture, Pieces, get, soon, streamed};

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

/// A client of HTTP/2 makes room for more as long as it reads, also when there is nothing more. A
/// socket that is closed answers that with a reset, and what was not read by then is lost.
#[tokio::test]
async fn one_that_is_not_done_with_reading_when_its_server_stops_gets_all_of_it() {
    const ALL: usize = 100_000;
    // And the answer to the ping by which h2 learns whether a client has heard that it is to go
    // (`frame::Ping::SHUTDOWN`), which this one will come to at the end of all.
    let pong = frame(PING, ACK, 0, &0x0b7b_a2f0_8b9b_fe54_u64.to_be_bytes());
    let more = [pong, window_update(0, 4_096)].concat();
    let router =
        Router::new().get("/", async |_: Context, _: Request| Bytes::from(vec![b'.'; ALL]));
    let server = Fixture::start(router).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let address = server.running.address().tcp().unwrap();
    let mut client = soon(socket.connect(address)).await.unwrap();
    let room = settings(&[(INITIAL_WINDOW_SIZE, 1 << 20)]);
    let begin = [PREFACE, &room, &window_update(0, 1 << 20), &frames::get(1, "/")].concat();
    client.write_all(&begin).await.unwrap();
    client.readable().await.unwrap();
    server.quiet().await;
    let drain = server.running.drain(DrainPlan::default().without_lame_duck());
    // It closes when it has seen the end.
    let reading = async move {
        let (mut piece, mut count) = ([0; 4_096], 0);
        loop {
            let read = soon(client.read(&mut piece)).await.expect("it is not reset");
            if read == 0 {
                return count;
            }
            count += read;
            client.write_all(&more).await.expect("it is not reset");
            // tidy: it takes its time
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (report, count) = soon(async { tokio::join!(drain, reading) }).await;
    assert!(count > ALL, "{count} bytes with their frames");
    assert!(report.is_clean(), "{report}");
}

/// It was not finished, whatever the server had written.
#[tokio::test]
async fn one_that_takes_nothing_while_its_server_stops_is_named_as_cut_short() {
    let router = Router::new().get("/", async |_: Context, _: Request| streamed(Pieces::Endless));
    let set = |server: Server| server.write_timeout(Duration::from_millis(250));
    let server = Fixture::with(router, set).await;
    let mut client = server.client().await;
    client.send(&get("/")).await;
    client.0.readable().await.unwrap();
    let drain = server.running.drain(DrainPlan::default().without_lame_duck());
    let report = soon(drain).await;
    assert_eq!((report.finished, report.cancelled, report.cut_short.len()), (0, 1, 1), "{report}");
}
