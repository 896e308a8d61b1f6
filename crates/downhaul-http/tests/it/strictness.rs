//! Heads that the RFCs forbid, on a real socket.

use downhaul_context::Context;
use downhaul_http::{Request, Router};

use crate::support::Fixture;

async fn server() -> Fixture {
    let router = Router::new()
        .get("/", async |_: Context, _: Request| "taken")
        .post("/", async |_: Context, mut req: Request| req.bytes().await.map(|_| "taken"));
    Fixture::start(router).await
}

/// What is answered to these lines and an empty one, and whether the connection ends.
async fn answer(lines: &str) -> (u16, bool) {
    let server = server().await;
    let response = server.request(&format!("{lines}\r\n")).await;
    (response.status, response.closes())
}

#[tokio::test]
async fn one_valid_host_is_asked_for() {
    for lines in [
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n",
        "GET / HTTP/1.1\r\nHost: user@a\r\n",
        "GET / HTTP/1.1\r\nHost: a:b\r\n",
        "GET / HTTP/1.1\r\nHost: a:65536\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: b\r\n",
        "GET http://a/ HTTP/1.1\r\n",
    ] {
        assert_eq!(answer(lines).await, (400, true), "{lines:?}");
    }
}

#[tokio::test]
async fn hosts_as_people_send_them_are_taken() {
    for lines in [
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "GET / HTTP/1.1\r\nHost: a.example-1.org:8080\r\n",
        "GET / HTTP/1.1\r\nHost: a:\r\n",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n",
        "GET / HTTP/1.1\r\nHost: under_score\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: a\r\n",
        "GET http://A:80/ HTTP/1.1\r\nHost: a:80\r\n",
        "GET / HTTP/1.0\r\n",
    ] {
        assert_eq!(answer(lines).await.0, 200, "{lines:?}");
    }
}

#[tokio::test]
async fn a_connect_may_name_another_host_and_is_the_services_to_refuse() {
    let answered = answer("CONNECT elsewhere:443 HTTP/1.1\r\nHost: a\r\n").await;
    assert_eq!(answered.0, 501);
}

#[tokio::test]
async fn beside_a_coding_a_length_counts_for_nothing_and_the_connection_ends() {
    let server = server().await;
    let mut client = server.client().await;
    let head =
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
    // By its length the body would end in the middle of a second request.
    client.send(&format!("{head}0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    assert_eq!(client.response().await.body, "taken");
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn no_coding_but_chunked_is_known() {
    for coding in ["gzip, chunked", "gzip", "chunked, chunked", "identity", "xchunked"] {
        let lines = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n");
        let (status, closes) = answer(&lines).await;
        assert!([400, 501].contains(&status) && closes, "{coding}: {status}");
    }
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n";
    assert_eq!(answer(chunked).await.0, 200);
}

#[tokio::test]
async fn nothing_can_be_expected_but_to_continue() {
    let lines = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nExpect: 200-ok\r\n";
    assert_eq!(answer(lines).await, (417, true));
    let server = server().await;
    let mut client = server.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n")
        .await;
    assert_eq!(client.response().await.status, 100);
    client.send("ok").await;
    assert_eq!(client.response().await.body, "taken");
}
