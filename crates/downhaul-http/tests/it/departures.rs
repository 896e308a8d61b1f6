//! Clients that go away while something that hyper has not read lies in the way.

use downhaul_context::CauseKind;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::support::{Client, Fixture, Held, Told, ended, get, held, soon};

/// A large body of which the client has sent five bytes.
const BEGUN_BODY: &str = "GET /held HTTP/1.1\r\nhost: t\r\ncontent-length: 1000000\r\n\r\nbegun";

/// A handler that works, for a client that has sent `bytes`.
async fn working(bytes: &str) -> (Fixture, Client, Held, UnboundedReceiver<Told>) {
    let (held, mut told) = held();
    let server = Fixture::start(held.router()).await;
    let mut client = server.client().await;
    client.send(bytes).await;
    assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
    (server, client, held, told)
}

#[tokio::test]
async fn one_that_has_sent_its_next_request_is_seen_to_leave() {
    let two = get("/held") + &get("/fast");
    let (server, client, _held, mut told) = working(&two).await;
    drop(client);
    assert_eq!(ended(&mut told).await, CauseKind::ClientGone);
    server.quiet().await;
}

#[tokio::test]
async fn one_that_sends_its_next_request_while_it_waits_is_seen_to_leave() {
    let (server, mut client, _held, mut told) = working(&get("/held")).await;
    // More than hyper takes in one piece, so that some of it stays in the socket; and no more than
    // the socket takes, or the end could not come behind it.
    client.send(&get("/fast").repeat(1000)).await;
    drop(client);
    assert_eq!(ended(&mut told).await, CauseKind::ClientGone);
    server.quiet().await;
}

#[tokio::test]
async fn one_whose_body_has_come_is_seen_to_leave() {
    let small = "GET /held HTTP/1.1\r\nhost: t\r\ncontent-length: 5\r\n\r\nsmall";
    let (server, client, _held, mut told) = working(small).await;
    drop(client);
    assert_eq!(ended(&mut told).await, CauseKind::ClientGone);
    server.quiet().await;
}

#[tokio::test]
async fn one_whose_body_nobody_reads_is_seen_to_leave() {
    let (server, client, _held, mut told) = working(BEGUN_BODY).await;
    drop(client);
    assert_eq!(ended(&mut told).await, CauseKind::ClientGone);
    server.quiet().await;
}

#[tokio::test]
async fn one_whose_connection_is_reset_is_seen_to_leave() {
    let (server, client, _held, mut told) = working(BEGUN_BODY).await;
    client.0.set_zero_linger().unwrap();
    drop(client);
    assert_eq!(ended(&mut told).await, CauseKind::ClientGone);
    server.quiet().await;
}

#[tokio::test]
async fn one_that_goes_on_to_send_and_stays_gets_all_its_answers() {
    let (_server, mut client, held, _told) = working(&(get("/held") + &get("/fast"))).await;
    for _ in 0..50 {
        client.send(&get("/fast")).await;
        client.0.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    held.release.notify_one();
    assert_eq!(client.response().await.body, "released");
    for _ in 0..51 {
        assert_eq!(client.response().await.body, "fast");
    }
}

/// Returns when the server has seen it: another request has come and gone since.
async fn close_its_side(client: &mut Client, server: &Fixture) {
    client.0.shutdown().await.unwrap();
    assert_eq!(server.get("/fast").await.body, "fast");
}

#[tokio::test]
async fn one_that_has_said_all_and_listens_is_answered() {
    let (server, mut client, held, _told) = working(&get("/held")).await;
    close_its_side(&mut client, &server).await;
    held.release.notify_one();
    assert_eq!(client.response().await.body, "released");
    assert!(client.rest().await.is_empty(), "and the connection is closed then");
}

#[tokio::test]
async fn one_that_says_all_at_once_and_listens_is_answered() {
    let (held, _told) = held();
    let server = Fixture::start(held.router()).await;
    let mut client = server.client().await;
    client.send(&get("/fast")).await;
    client.0.shutdown().await.unwrap();
    assert_eq!(client.response().await.body, "fast");
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn one_that_has_said_two_things_and_listens_is_answered_twice() {
    let two = get("/held") + &get("/fast");
    let (server, mut client, held, _told) = working(&two).await;
    close_its_side(&mut client, &server).await;
    held.release.notify_one();
    assert_eq!(client.response().await.body, "released");
    assert_eq!(client.response().await.body, "fast");
    assert!(client.rest().await.is_empty());
}
