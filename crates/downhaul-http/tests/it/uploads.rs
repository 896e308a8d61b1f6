//! Drains while a body is on its way.

use std::time::Duration;

use downhaul_context::{CauseKind, Context};
use downhaul_http::observe::Ending;
use downhaul_http::{DrainPlan, Request, Router};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::support::{Client, Fixture, NEVER, Seen, soon};

/// Soon over, and yet enough for a busy machine to begin a request.
const BRIEF: Duration = Duration::from_millis(500);

fn plan() -> DrainPlan {
    DrainPlan::default().without_lame_duck().finish(NEVER)
}

fn router() -> Router {
    Router::new().post("/", async |_: Context, mut req: Request| req.bytes().await)
}

/// A client that has sent the first half of ten bytes, which the handler waits for.
async fn half_way(server: &Fixture) -> Client {
    let mut client = server.client().await;
    client.send("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 10\r\n\r\nhello").await;
    soon(async {
        while server.running.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    client
}

#[tokio::test]
async fn one_that_goes_on_is_taken_and_answered() {
    let server = Fixture::start(router()).await;
    let mut client = half_way(&server).await;
    let address = server.running.address().tcp().unwrap();
    let rest = async {
        // Once the port is closed the drain has begun.
        while TcpStream::connect(address).await.is_ok() {}
        client.send("world").await;
        client.response().await
    };
    let (report, response) = tokio::join!(soon(server.running.drain(plan())), rest);
    assert_eq!((response.status, &*response.body, response.closes()), (200, "helloworld", true));
    assert!(report.is_clean() && report.finished == 1, "{report}");
    assert!(report.took < NEVER / 2, "{report}");
}

#[tokio::test]
async fn one_that_stalls_is_a_408_and_holds_the_drain_no_longer() {
    let server = Fixture::with(router(), |server| server.body_timeout(BRIEF)).await;
    let mut client = half_way(&server).await;
    let (report, response) = tokio::join!(soon(server.running.drain(plan())), client.response());
    assert_eq!((response.status, response.closes()), (408, true));
    assert!(report.is_clean() && report.finished == 1, "{report}");
    assert!(report.took < NEVER / 2, "{report}");
}

#[tokio::test]
async fn one_whose_client_leaves_ends_with_that() {
    let (see, mut seen) = mpsc::unbounded_channel();
    let (tell, mut told) = mpsc::unbounded_channel();
    let router = Router::new().post("/", move |ctx: Context, mut req: Request| {
        tell.send(ctx).unwrap();
        async move { req.bytes().await }
    });
    let server = Fixture::with(router, |server| server.observer(Seen(see))).await;
    for is_reset in [false, true] {
        let client = half_way(&server).await;
        if is_reset {
            client.0.set_zero_linger().unwrap();
        }
        drop(client);
        assert_eq!(soon(seen.recv()).await, Some((499, Ending::ClientGone)), "{is_reset}");
        let ctx = soon(told.recv()).await.unwrap();
        assert_eq!(soon(ctx.done()).await.kind(), CauseKind::ClientGone);
        server.quiet().await;
    }
    let no_chunk = "POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\nx\r\n";
    assert_eq!(server.request(no_chunk).await.status, 400);
    assert_eq!(soon(seen.recv()).await, Some((400, Ending::Answered)));
}

#[tokio::test]
async fn one_that_the_drain_does_not_wait_for_is_a_503() {
    let server = Fixture::start(router()).await;
    let mut client = half_way(&server).await;
    let hurried = plan().finish(Duration::from_millis(50)).cancel_grace(NEVER);
    let (report, response) = tokio::join!(soon(server.running.drain(hurried)), client.response());
    assert_eq!((response.status, response.closes()), (503, true));
    assert!(report.cancelled == 1 && report.forced.is_empty(), "{report}");
}
