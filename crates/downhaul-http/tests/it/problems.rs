//! Errors, as clients read them (RFC 9457).

use downhaul_context::Context;
use downhaul_http::{Error, Request, Router};
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{Fixture, Response};

fn document(response: &Response) -> Value {
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    serde_json::from_str(&response.body).unwrap()
}

async fn answered(error: fn() -> Error) -> Response {
    let router = Router::new().get("/", move |_: Context, _: Request| async move { error() });
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
