//! Bodies that are too large, too slow, or not what they say.

use std::time::Duration;

use bytes::Bytes;
use downhaul_context::Context;
use downhaul_http::{
    Error, HeaderValue, IntoResponse, Json, Listener, Next, OnDisconnect, Request, Response,
    RouteLimits, Router, Server, header,
};
use http_body_util::BodyExt;
use tokio::time::{sleep, timeout};

use crate::support::{Client, Fixture, get, post, soon};

#[derive(serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
struct Order {
    item: String,
    count: Option<u32>,
}

fn router() -> Router {
    Router::new()
        .post("/orders", |_: Context, mut req: Request| async move {
            Ok::<_, Error>(Json(req.json::<Order>().await?))
        })
        .post("/length", |_: Context, mut req: Request| async move {
            Ok::<_, Error>(req.bytes().await?.len().to_string())
        })
}

#[tokio::test]
async fn a_declared_length_beyond_the_limit_is_refused_before_a_byte_is_read() {
    let server = Fixture::with(router(), |server| server.body_limit(10)).await;
    let mut client = server.client().await;
    client.send("POST /length HTTP/1.1\r\nhost: t\r\ncontent-length: 11\r\n\r\n").await;
    let response = client.response().await;
    assert_eq!(response.status, 413);
    assert!(response.closes());
    assert!(response.header("x-request-id").is_some());
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn a_client_that_is_refused_while_it_sends_still_reads_why() {
    let server = Fixture::with(router(), |server| server.body_limit(10)).await;
    for _ in 0..10 {
        let mut client = server.client().await;
        // More than fits the sockets' buffers: it can be sent only if the server takes it.
        client.send(&post("/length", &"x".repeat(8 << 20))).await;
        assert_eq!(client.response().await.status, 413);
    }
}

#[tokio::test]
async fn a_body_that_grows_beyond_the_limit_is_a_413() {
    let server = Fixture::with(router(), |server| server.body_limit(10)).await;
    let chunked = "POST /length HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut client = server.client().await;
    client.send(chunked).await;
    client.send("6\r\nabcdef\r\n6\r\nghijkl\r\n").await;
    let response = client.response().await;
    assert_eq!((response.status, response.closes()), (413, true));
    assert_eq!(server.request(&post("/length", "0123456789")).await.body, "10");
}

#[tokio::test]
async fn a_body_that_stalls_is_a_408_and_the_connection_closes() {
    let server =
        Fixture::with(router(), |server| server.body_timeout(Duration::from_millis(20))).await;
    let mut client = server.client().await;
    client.send("POST /length HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\nhalf").await;
    let response = client.response().await;
    assert_eq!((response.status, response.closes()), (408, true));
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn a_deadline_that_passes_while_the_body_arrives_is_a_408_not_a_504() {
    let server = Fixture::with(router(), |server| server.timeout(Duration::from_millis(250))).await;
    let mut client = server.client().await;
    client.send("POST /length HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\nhalf").await;
    let response = client.response().await;
    assert_eq!((response.status, response.closes()), (408, true));
    assert_eq!(response.member("title"), "Request Timeout");
}

/// In memory, under the paused clock, which stands while there is something to do.
#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_while_the_handler_holds_what_has_come_is_a_504_not_a_408() {
    let holds = |_: Context, req: Request| async move {
        let mut body = req.into_http().into_body();
        let asked = timeout(Duration::ZERO, body.frame()).await;
        assert!(asked.is_err(), "it was to come later");
        std::future::pending::<()>().await;
        drop(body);
    };
    let (listener, connector) = Listener::in_memory();
    let server = Server::on(listener).timeout(Duration::from_secs(5));
    let _running = server.serve(Context::background(), Router::new().post("/", holds));
    let mut client = Client(connector.connect().await.unwrap());
    client.send("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 4\r\n\r\n").await;
    sleep(Duration::from_secs(1)).await; // tidy: the paused clock
    client.send("body").await;
    assert_eq!(client.response().await.status, 504);
}

#[tokio::test]
async fn a_refusal_of_what_has_a_body_that_nobody_read_says_that_the_connection_closes() {
    let panics = |_: Context, _: Request| async {
        if true {
            panic!("on purpose")
        }
    };
    let server = Fixture::start(Router::new().post("/", panics)).await;
    for (body, closes) in [("", false), ("unread", true)] {
        let response = server.request(&post("/", body)).await;
        assert_eq!((response.status, response.closes()), (500, closes), "{body}");
    }
}

#[tokio::test]
async fn a_400_names_the_field_and_what_was_expected() {
    let server = Fixture::start(router()).await;
    let wrong = server.request(&post("/orders", r#"{"item":"rope","count":"two"}"#)).await;
    assert_eq!(wrong.status, 400);
    let message = wrong.member("detail");
    assert!(message.contains("`count`") && message.contains("expected u32"), "{message}");
    assert_eq!(wrong.member("field"), "count");

    let unknown = server.request(&post("/orders", r#"{"item":"rope","colour":"red"}"#)).await;
    assert_eq!(unknown.status, 400);
    assert!(unknown.member("detail").contains("colour"));

    let empty = server.request(&post("/orders", "")).await;
    assert_eq!(empty.status, 400);
    assert_eq!(empty.member("detail"), "the body is empty; send JSON");

    let trailing = server.request(&post("/orders", r#"{"item":"rope"} x"#)).await;
    assert_eq!(trailing.status, 400);

    let right = server.request(&post("/orders", r#"{"item":"rope","count":2}"#)).await;
    assert_eq!((right.status, &*right.body), (200, r#"{"item":"rope","count":2}"#));
    assert_eq!(right.header("content-type"), Some("application/json"));
}

/// A page of another origin could not read why.
#[tokio::test]
async fn a_413_and_a_408_keep_what_layers_add_to_answers() {
    async fn allow(ctx: Context, req: Request, next: Next) -> Response {
        let mut answer = next.run(ctx, req).await;
        let any = HeaderValue::from_static("*");
        answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
        answer
    }
    let server = Fixture::with(router().middleware(allow), |server| {
        server.body_limit(10).body_timeout(Duration::from_millis(20))
    });
    let server = server.await;
    let half = "POST /orders HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\nhalf";
    for (request, status) in [(&*post("/orders", &"x".repeat(11)), 413), (half, 408)] {
        let response = server.request(request).await;
        assert_eq!(response.status, status);
        assert_eq!(response.header("access-control-allow-origin"), Some("*"));
        assert_eq!(response.header("content-type"), Some("application/problem+json"));
        assert_eq!(response.header("content-length"), Some(&*response.body.len().to_string()));
    }
}

/// Axum's own limit is 2 MB, and would be met first.
#[tokio::test]
async fn an_extractor_of_a_body_is_bound_by_our_limit_alone() {
    let read = async |_: Context, req: Request| -> Result<String, Response> {
        let body: Bytes = req.extract_body().await.map_err(IntoResponse::into_response)?;
        Ok(body.len().to_string())
    };
    let limits = RouteLimits::new().body_limit(4 << 20);
    let server = Fixture::start(Router::new().post("/", read).limits(limits)).await;
    for (megabytes, status) in [(3, 200), (5, 413)] {
        let body = "x".repeat(megabytes << 20);
        assert_eq!(server.request(&post("/", &body)).await.status, status, "{megabytes} MB");
    }
}

/// Clients choose how long the names are that an answer repeats.
#[tokio::test]
async fn a_400_repeats_no_more_of_a_body_than_a_person_reads() {
    let server = Fixture::start(router()).await;
    let long = "k".repeat(100_000);
    for body in [format!(r#"{{"{long}": 1}}"#), format!(r#"{{"item": "{long}", "count": tru}}"#)] {
        let response = server.request(&post("/orders", &body)).await;
        assert_eq!(response.status, 400);
        assert!(response.body.len() < 1_000, "{} bytes", response.body.len());
    }
}

#[tokio::test]
async fn json_is_taken_whatever_the_content_type_says() {
    let server = Fixture::start(router()).await;
    for kind in ["application/json; charset=utf-8", "application/x-www-form-urlencoded"] {
        let request = format!(
            "POST /orders HTTP/1.1\r\nhost: t\r\ncontent-type: {kind}\r\ncontent-length: 15\r\n\
             \r\n{{\"item\":\"rope\"}}"
        );
        assert_eq!(server.request(&request).await.status, 200, "{kind}");
    }
}

#[tokio::test]
async fn a_body_that_is_read_twice_is_a_mistake_and_a_500() {
    let twice = async |_: Context, mut req: Request| {
        req.bytes().await?;
        req.bytes().await.map(|_| "again")
    };
    let server = Fixture::start(Router::new().post("/twice", twice)).await;
    assert_eq!(server.request(&post("/twice", "body")).await.status, 500);
}

#[tokio::test]
async fn after_a_body_nobody_read_the_next_request_is_not_taken_from_it() {
    let router = router().post("/ignore", async |_: Context, _: Request| "ignored");
    let server = Fixture::start(router).await;
    let mut client = server.client().await;
    client.send(&post("/ignore", &get("/smuggled"))).await;
    assert_eq!(client.response().await.body, "ignored");
    client.send(&post("/length", "four")).await;
    assert_eq!(client.response().await.body, "4");
}

/// Says how many bytes came, and whether it went on in the task in which it began.
fn tasks() -> Router {
    let handle = async |_: Context, mut req: Request| {
        let began = tokio::task::try_id();
        let body = req.bytes().await?;
        assert_ne!(&*body, b"panic");
        Ok::<_, Error>(format!("{} {}", body.len(), began == tokio::task::try_id()))
    };
    Router::new().post("/", handle)
}

#[tokio::test]
async fn one_that_comes_with_its_head_costs_no_task() {
    let server = Fixture::start(tasks()).await;
    let mut client = server.client().await;
    client.send(&post("/", "hello")).await;
    assert_eq!(client.response().await.body, "5 true");
    let late = post("/", "hello");
    let (head, body) = late.split_at(late.len() - 2);
    client.send(head).await;
    soon(async {
        while server.running.in_flight() == 0 {
            tokio::task::yield_now().await
        }
    })
    .await;
    client.send(body).await;
    assert_eq!(client.response().await.body, "5 false");
}

#[tokio::test]
async fn one_whose_handler_goes_on_without_its_client_has_a_task_from_then_on() {
    let finish = RouteLimits::new().on_disconnect(OnDisconnect::Finish);
    let server = Fixture::start(tasks().limits(finish)).await;
    assert_eq!(server.request(&post("/", "hello")).await.body, "5 false");
}

#[tokio::test]
async fn a_panic_over_one_that_comes_with_its_head_is_a_500_and_the_connection_lives_on() {
    let server = Fixture::start(tasks()).await;
    let mut client = server.client().await;
    client.send(&post("/", "panic")).await;
    let response = client.response().await;
    assert_eq!((response.status, response.closes()), (500, false));
    client.send(&post("/", "hello")).await;
    assert_eq!(client.response().await.body, "5 true");
}
