//! Errors, as clients read them (RFC 9457).

use std::sync::Arc;
use std::time::Duration;

use downhaul_context::Context;
use downhaul_http::{ContextLayer, Error, Request, Router, Server};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Client, Fixture, Response};

fn document(response: &Response) -> Value {
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    serde_json::from_str(&response.body).unwrap()
}

async fn answered(error: impl Fn() -> Error + Send + Sync + 'static) -> Response {
    let error = Arc::new(error);
    let router = Router::new().get("/", move |_: Context, _: Request| {
        let error = Arc::clone(&error);
        async move { error() }
    });
    Fixture::start(router).await.get("/").await
}

#[tokio::test]
async fn an_error_is_a_problem_that_names_its_request() {
    let response = answered(|| Error::not_found("no order 17")).await;
    let expected = json!({
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "no order 17",
        "request_id": response.header("x-request-id").unwrap(),
    });
    assert_eq!((response.status, document(&response)), (404, expected));
    assert_eq!(response.header("content-length"), Some(&*response.body.len().to_string()));
}

#[tokio::test]
async fn the_time_to_come_back_is_rounded_up_and_may_be_never() {
    let soon = answered(|| Error::unavailable("gone").retry_after(Duration::from_millis(1_500)));
    assert_eq!(soon.await.header("retry-after"), Some("2"));
    let response = answered(|| Error::unavailable("gone").retry_after(Duration::MAX)).await;
    let never = u64::MAX.to_string();
    assert_eq!((response.status, response.header("retry-after")), (503, Some(&*never)));
}

#[tokio::test]
async fn an_error_says_in_headers_what_a_client_is_to_do() {
    let challenge = HeaderValue::from_static("Bearer");
    let response = answered(move || Error::unauthorized(challenge.clone(), "who asks?")).await;
    assert_eq!((response.status, response.header("www-authenticate")), (401, Some("Bearer")));
    assert_eq!(document(&response)["detail"], "who asks?");
    let response = answered(|| {
        let moved = HeaderValue::from_static("https://shop.example/orders/17");
        Error::new(StatusCode::GONE, "it moved").with_header(header::LINK, moved)
    });
    let response = response.await;
    assert_eq!(response.header("link"), Some("https://shop.example/orders/17"));
    assert_eq!(document(&response)["request_id"], response.header("x-request-id").unwrap());
}

#[tokio::test]
async fn a_problem_may_have_a_type_and_members_of_its_own() {
    let response = answered(|| {
        Error::conflict("the account has 30")
            .with_type("https://shop.example/no-credit", "Not enough credit")
            .with("balance", 30)
            .with("balance", 31)
            .with("accounts", vec!["/a/1", "/a/2"])
    })
    .await;
    let document = document(&response);
    assert_eq!(document["type"], "https://shop.example/no-credit");
    assert_eq!(document["title"], "Not enough credit");
    assert_eq!((&document["balance"], &document["accounts"][1]), (&json!(31), &json!("/a/2")));
    assert_eq!(document["detail"], "the account has 30");
}

#[tokio::test]
async fn members_of_its_own_do_not_hide_those_of_the_rfc() {
    let response = answered(|| {
        ["type", "title", "status", "detail", "request_id"]
            .into_iter()
            .fold(Error::bad_request("wrong"), |error, name| error.with(name, "forged"))
    })
    .await;
    assert!(!response.body.contains("forged"), "{}", response.body);
    assert_eq!(document(&response)["status"], 400);
}

#[tokio::test]
async fn a_status_that_nobody_knows_has_a_title_all_the_same() {
    let response = answered(|| Error::new(StatusCode::from_u16(599).unwrap(), "odd")).await;
    assert_eq!((response.status, document(&response)["title"].as_str()), (599, Some("Error")));
}

/// The document of `changed`, before a server has put the request's id in.
const PLAIN: &str =
    r#"{"type":"about:blank","title":"Not Found","status":404,"detail":"no order 17"}"#;

/// What `change` makes of the answer of an error, in a layer of axum around the handler.
type Change = fn(axum::response::Response) -> axum::response::Response;

fn changed(change: Change) -> axum::Router {
    let fails = async || Error::not_found("no order 17");
    axum::Router::new()
        .route("/", axum::routing::get(fails))
        .layer(axum::middleware::map_response(move |answer| async move { change(answer) }))
}

/// What clients read of it: from our server, and from another that has our layer.
async fn read(change: Change, request: &str) -> [String; 2] {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let running = server.serve(Context::background(), changed(change));
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = [running.address().tcp().unwrap(), tcp.local_addr().unwrap()];
    let layered = changed(change).layer(ContextLayer::new(Context::background()));
    let served = tokio::spawn(async move { axum::serve(tcp, layered).await });
    let mut answers = Vec::new();
    for address in addresses {
        let mut client = Client(TcpStream::connect(address).await.unwrap());
        client.send(&format!("{request} / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")).await;
        answers.push(String::from_utf8(client.rest().await).unwrap());
    }
    served.abort();
    answers.try_into().unwrap()
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn one_that_a_layer_has_encoded_stays_encoded() {
    let encode: Change = |mut answer| {
        answer.headers_mut().insert("content-encoding", "br".parse().unwrap());
        answer.headers_mut().remove("content-length");
        // As long as it was, by chance.
        answer.map(|_| axum::body::Body::from("x".repeat(PLAIN.len())))
    };
    for answer in read(encode, "GET").await {
        assert_eq!(header(&answer, "content-encoding"), Some("br"), "{answer}");
        assert_eq!(body(&answer), "x".repeat(PLAIN.len()));
        assert!(header(&answer, "x-request-id").is_some());
    }
}

#[tokio::test]
async fn one_that_a_layer_has_replaced_stays_replaced() {
    let by_page: Change = |mut answer| {
        answer.headers_mut().insert("content-type", "text/html".parse().unwrap());
        answer.headers_mut().remove("content-length");
        answer.map(|_| axum::body::Body::from("x".repeat(PLAIN.len())))
    };
    let by_another: Change = |mut answer| {
        answer.headers_mut().remove("content-length");
        answer.map(|_| axum::body::Body::from("{}"))
    };
    for (change, expected) in [(by_page, &*"x".repeat(PLAIN.len())), (by_another, "{}")] {
        for answer in read(change, "GET").await {
            assert_eq!(body(&answer), expected);
            let length = expected.len().to_string();
            assert_eq!(header(&answer, "content-length"), Some(&*length), "{answer}");
        }
    }
}

#[tokio::test]
async fn one_that_layers_leave_alone_names_its_request_and_head_says_how_long_it_is() {
    let lengths = read(|answer| answer, "GET").await.map(|answer| {
        let document: Value = serde_json::from_str(body(&answer)).unwrap();
        assert_eq!(document["request_id"], header(&answer, "x-request-id").unwrap());
        header(&answer, "content-length").unwrap().to_owned()
    });
    for (answer, length) in read(|answer| answer, "HEAD").await.iter().zip(lengths) {
        // All ids are of one length.
        assert_eq!((header(answer, "content-length"), body(answer)), (Some(&*length), ""));
    }
}
