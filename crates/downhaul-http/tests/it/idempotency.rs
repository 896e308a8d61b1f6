//! Requests that come again with the same key.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum_core::response::IntoResponse;
use downhaul_context::Context;
use downhaul_http::idempotency::{Idempotency, IdempotencyKey, MemoryStore};
use downhaul_http::{Error, Json, OnDisconnect, Request, RouteLimits, Router};
use http::{Method, StatusCode};
use tokio::sync::{Notify, mpsc};

use crate::support::{Fixture, Pieces, Response, Told, held, soon, streamed};

/// Soon over, and yet enough for a busy machine to begin an answer.
const BRIEF: Duration = Duration::from_millis(500);

fn keyed(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: t\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}

fn pay(key: &str, body: &str) -> String {
    keyed("POST", "/pay", &format!("idempotency-key: {key}\r\n"), body)
}

fn rules() -> Idempotency {
    Idempotency::new(MemoryStore::new())
}

/// Answers every method of `/pay` and `/other` with how often it was carried out, or with the
/// status that the body asks for.
fn shop() -> (Router, Arc<AtomicUsize>) {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let handler = move |ctx: Context, mut req: Request| {
        let run = counted.fetch_add(1, Ordering::Relaxed) + 1;
        async move {
            let body = req.bytes().await?;
            let status = std::str::from_utf8(&body).ok().and_then(|text| text.parse().ok());
            if let Some(status) = status.and_then(|status| StatusCode::from_u16(status).ok()) {
                return Err(Error::new(status, format!("run {run}")));
            }
            let key = ctx.value::<IdempotencyKey>().map(IdempotencyKey::as_str);
            Ok((StatusCode::CREATED, [("location", "/pay/1")], Json((run, key.map(str::to_owned)))))
        }
    };
    let mut router = Router::new().fallback(async |_: Context, _: Request| StatusCode::NOT_FOUND);
    for path in ["/pay", "/other"] {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH] {
            router = router.route(method, path, handler.clone());
        }
    }
    (router, runs)
}

fn is_replay(response: &Response) -> bool {
    response.header("idempotent-replayed") == Some("true")
}

#[tokio::test]
async fn one_that_comes_again_is_told_the_same_and_is_not_carried_out() {
    let (router, runs) = shop();
    let server = Fixture::start(router.idempotency(rules())).await;
    let first = server.request(&pay("k-1", "10")).await;
    let again = server.request(&pay("k-1", "10")).await;
    assert_eq!((first.status, &*first.body), (201, r#"[1,"k-1"]"#));
    assert_eq!((again.status, &*again.body), (201, r#"[1,"k-1"]"#));
    for name in ["location", "content-type", "content-length"] {
        assert!(first.header(name).is_some() && first.header(name) == again.header(name), "{name}");
    }
    assert!(!is_replay(&first) && is_replay(&again));
    assert_ne!(first.header("x-request-id"), again.header("x-request-id"), "each has its own");
    assert_eq!(server.request(&pay("k-2", "10")).await.body, r#"[2,"k-2"]"#);
    assert_eq!(runs.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_refusal_is_told_again_too() {
    let (router, runs) = shop();
    let server = Fixture::start(router.idempotency(rules())).await;
    let first = server.request(&pay("k", "404")).await;
    assert_eq!(first.header("x-request-id"), Some(&*first.member("request_id")));
    let again = server.request(&pay("k", "404")).await;
    assert_eq!((again.status, again.member("detail")), (404, "run 1".into()));
    assert_eq!(again.header("content-type"), Some("application/problem+json"));
    assert_eq!((is_replay(&again), runs.load(Ordering::Relaxed)), (true, 1));
}

#[tokio::test]
async fn a_key_of_another_request_is_a_422() {
    let (router, runs) = shop();
    let server = Fixture::start(router.idempotency(rules())).await;
    let first = keyed("POST", "/pay?to=a", "idempotency-key: k\r\n", "10");
    assert_eq!(server.request(&first).await.status, 201);
    for (method, path, body) in [
        ("POST", "/pay?to=a", "11"),
        ("POST", "/pay?to=b", "10"),
        ("POST", "/other?to=a", "10"),
        ("PATCH", "/pay?to=a", "10"),
    ] {
        let other = server.request(&keyed(method, path, "idempotency-key: k\r\n", body)).await;
        assert_eq!((other.status, is_replay(&other)), (422, false), "{method} {path} {body}");
    }
    assert_eq!(runs.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn while_the_first_is_worked_on_the_second_is_a_409() {
    let (release, begun) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (released, begins) = (Arc::clone(&release), Arc::clone(&begun));
    let router = Router::new().post("/pay", move |_: Context, _: Request| {
        let (released, begins) = (Arc::clone(&released), Arc::clone(&begins));
        async move {
            begins.notify_one();
            released.notified().await;
            "paid"
        }
    });
    let server = Fixture::start(router.idempotency(rules())).await;
    let mut first = server.client().await;
    first.send(&pay("k", "")).await;
    soon(begun.notified()).await;
    let second = server.request(&pay("k", "")).await;
    assert_eq!((second.status, second.header("retry-after")), (409, Some("1")));
    assert_eq!(server.request(&pay("k", "other")).await.status, 422);
    release.notify_one();
    assert_eq!(first.response().await.body, "paid");
    assert!(is_replay(&server.request(&pay("k", "")).await));
}

#[tokio::test]
async fn a_key_is_asked_for_where_it_is_required() {
    let (router, runs) = shop();
    let required = Fixture::start(router.clone().idempotency(rules().required())).await;
    for method in ["POST", "PATCH"] {
        let missing = required.request(&keyed(method, "/pay", "", "")).await;
        assert_eq!(missing.status, 400);
        assert!(missing.member("detail").contains("`Idempotency-Key` is missing"));
    }
    assert_eq!(required.request(&keyed("PUT", "/pay", "", "")).await.status, 201);
    let optional = Fixture::start(router.idempotency(rules())).await;
    for run in ["[2,null]", "[3,null]"] {
        assert_eq!(optional.request(&keyed("POST", "/pay", "", "")).await.body, run);
    }
    assert_eq!(runs.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn methods_that_are_idempotent_by_themselves_have_no_keys() {
    let (router, _runs) = shop();
    let server = Fixture::start(router.clone().idempotency(rules())).await;
    for run in ["[1,null]", "[2,null]"] {
        let put = keyed("PUT", "/pay", "idempotency-key: k\r\n", "");
        assert_eq!(server.request(&put).await.body, run);
    }
    let all = Fixture::start(router.idempotency(rules().methods([Method::PUT]))).await;
    for run in [r#"[3,"k"]"#, r#"[3,"k"]"#] {
        let put = keyed("PUT", "/pay", "idempotency-key: k\r\n", "");
        assert_eq!(all.request(&put).await.body, run);
    }
}

#[tokio::test]
async fn a_key_that_is_not_valid_is_a_400() {
    let (router, runs) = shop();
    let server = Fixture::start(router.idempotency(rules())).await;
    let long = "x".repeat(256);
    for key in
        ["", "\"\"", &long, "a b", "a,b", "a;b", "\"a", "\"a\"b", "\"a\\b\"", "ü", "\"a\"; x=1"]
    {
        assert_eq!(server.request(&pay(key, "")).await.status, 400, "{key}");
    }
    let two = keyed("POST", "/pay", "idempotency-key: a\r\nidempotency-key: a\r\n", "");
    assert_eq!(server.request(&two).await.status, 400);
    assert_eq!(runs.load(Ordering::Relaxed), 0);

    for (run, key) in [(1, &*"x".repeat(255)), (2, "8e03978e-40d5-43dd-bc93-6894a57f9324")] {
        let quoted = format!("\"{key}\"");
        for key in [key, &quoted] {
            let body = server.request(&pay(key, "")).await.body;
            assert!(body.starts_with(&format!("[{run},")), "{body}");
        }
    }
    assert_eq!(server.request(&pay(r#""a \"b\" \\""#, "")).await.body, r#"[3,"a \"b\" \\"]"#);
}

#[tokio::test]
async fn an_answer_that_asks_to_try_again_is_not_kept() {
    let (router, runs) = shop();
    let server = Fixture::start(router.idempotency(rules())).await;
    for status in ["500", "503", "408", "425", "429"] {
        runs.store(0, Ordering::Relaxed);
        for run in ["run 1", "run 2"] {
            let failed = server.request(&pay(status, status)).await;
            assert_eq!(
                (failed.status.to_string(), failed.member("detail")),
                (status.into(), run.into())
            );
        }
    }
}

/// Asks until the key is free, and returns what is answered then.
async fn until_free(server: &Fixture, request: &str) -> Response {
    soon(async {
        loop {
            let response = server.request(request).await;
            if response.status != 409 {
                return response;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_handler_that_panics_frees_its_key() {
    let runs = Arc::new(AtomicUsize::new(0));
    let router = Router::new().post("/pay", move |_: Context, _: Request| {
        let run = runs.fetch_add(1, Ordering::Relaxed);
        async move {
            assert!(run > 0, "the first one panics");
            "paid"
        }
    });
    let server = Fixture::start(router.idempotency(rules())).await;
    assert_eq!(server.request(&pay("k", "")).await.status, 500);
    assert_eq!(until_free(&server, &pay("k", "")).await.body, "paid");
}

/// `/pay` is the first time one that waits for its release, and minds its context or not.
fn held_once(minds: bool) -> (Router, Arc<Notify>, mpsc::UnboundedReceiver<Told>) {
    let (held, told) = held();
    let release = Arc::clone(&held.release);
    let (path, runs) = (if minds { "/held" } else { "/deaf" }, Arc::new(AtomicUsize::new(0)));
    let router = Router::new().post("/pay", move |ctx: Context, _: Request| {
        let (inner, run) = (held.router(), runs.fetch_add(1, Ordering::Relaxed));
        async move {
            if run > 0 {
                return format!("run {}", run + 1).into_response();
            }
            let mut request = http::Request::get(path).body(axum::body::Body::empty()).unwrap();
            request.extensions_mut().insert(ctx);
            tower::ServiceExt::oneshot(inner, request).await.unwrap()
        }
    });
    (router, release, told)
}

#[tokio::test]
async fn a_handler_that_is_cancelled_frees_its_key() {
    for minds in [true, false] {
        let (router, _release, _told) = held_once(minds);
        let server = Fixture::with(router.idempotency(rules()), |server| {
            server.timeout(BRIEF).cancel_grace(Duration::from_millis(10))
        })
        .await;
        assert_eq!(server.request(&pay("k", "")).await.status, 504);
        assert_eq!(until_free(&server, &pay("k", "")).await.body, "run 2");
    }
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_key_of_what_it_cancels() {
    for minds in [true, false] {
        let (router, _release, mut told) = held_once(minds);
        let server = Fixture::with(router.idempotency(rules()), |server| {
            server.cancel_grace(Duration::from_millis(10))
        })
        .await;
        let mut client = server.client().await;
        client.send(&pay("k", "")).await;
        assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
        drop(client);
        assert_eq!(until_free(&server, &pay("k", "")).await.body, "run 2");
    }
}

#[tokio::test]
async fn under_finish_a_client_that_left_finds_the_answer_when_it_comes_back() {
    let (router, release, mut told) = held_once(true);
    let finish = RouteLimits::new().on_disconnect(OnDisconnect::Finish);
    let server = Fixture::start(router.limits(finish).idempotency(rules())).await;
    let mut client = server.client().await;
    client.send(&pay("k", "")).await;
    assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
    drop(client);
    assert_eq!(server.request(&pay("k", "")).await.status, 409, "it is worked on");
    release.notify_one();
    let again = until_free(&server, &pay("k", "")).await;
    assert_eq!((&*again.body, is_replay(&again)), ("released", true));
}

#[tokio::test]
async fn callers_do_not_read_what_others_were_told() {
    let (router, _runs) = shop();
    let server = Fixture::start(router.clone().idempotency(rules())).await;
    let by = |who: &str| {
        let headers =
            format!("idempotency-key: k\r\nauthorization: Bearer {who}\r\nx-user: {who}\r\n");
        keyed("POST", "/pay", &headers, "")
    };
    for (who, body) in [("ada", r#"[1,"k"]"#), ("bob", r#"[2,"k"]"#), ("ada", r#"[1,"k"]"#)] {
        assert_eq!(server.request(&by(who)).await.body, body);
    }
    // Ada has a new token by now, and is ada all the same.
    let by_user = rules()
        .scope(|_, parts| String::from_utf8_lossy(parts.headers["x-user"].as_bytes()).into_owned());
    let server = Fixture::start(router.idempotency(by_user)).await;
    assert_eq!(server.request(&by("ada")).await.body, r#"[3,"k"]"#);
    let renewed = by("ada").replace("Bearer ada", "Bearer new");
    assert_eq!(server.request(&renewed).await.body, r#"[3,"k"]"#);
    assert_eq!(server.request(&by("bob")).await.body, r#"[4,"k"]"#);
}

#[tokio::test]
async fn bodies_beyond_the_bounds_are_refused_and_answers_beyond_them_not_carried_out_again() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let (send, pieces) = mpsc::unbounded_channel();
    ["0123", "45678", "9"].into_iter().for_each(|piece| send.send(piece).unwrap());
    drop(send);
    let pieces = Arc::new(std::sync::Mutex::new(Some(pieces)));
    let router = Router::new()
        .post("/pay", move |_: Context, mut req: Request| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move { req.bytes().await.map(|body| body.repeat(2)) }
        })
        .post("/pieces", move |_: Context, _: Request| {
            let pieces = pieces.lock().unwrap().take().unwrap();
            async move { streamed(Pieces::Sent(pieces)) }
        });
    let bounded = rules().max_request(5).max_answer(8);
    let server = Fixture::start(router.idempotency(bounded)).await;
    assert_eq!(server.request(&pay("large", "123456")).await.status, 413);
    assert_eq!(runs.load(Ordering::Relaxed), 0);
    assert_eq!(server.request(&pay("fits", "1234")).await.body, "12341234");
    assert_eq!(server.request(&pay("fits", "1234")).await.body, "12341234");
    assert_eq!(server.request(&pay("beyond", "12345")).await.body, "1234512345");
    let again = server.request(&pay("beyond", "12345")).await;
    assert_eq!((again.status, is_replay(&again)), (409, true));
    assert!(again.member("detail").contains("too large to be told again"), "{}", again.body);
    assert_eq!(runs.load(Ordering::Relaxed), 2);

    let headers = "idempotency-key: k\r\nconnection: close\r\n";
    let mut client = server.client().await;
    client.send(&keyed("POST", "/pieces", headers, "")).await;
    let whole = String::from_utf8(client.rest().await).unwrap();
    assert!(whole.contains("0123") && whole.contains("45678") && whole.contains("9"), "{whole}");
    assert!(whole.ends_with("0\r\n\r\n"), "{whole}");
    assert_eq!(server.request(&keyed("POST", "/pieces", headers, "")).await.status, 409);
}

#[tokio::test]
async fn it_is_a_layer_for_axum() {
    use axum::extract::Extension;
    use axum::routing::post;

    let runs = Arc::new(AtomicUsize::new(0));
    let handler = async move |Extension(ctx): Extension<Context>, body: String| {
        let run = runs.fetch_add(1, Ordering::Relaxed) + 1;
        format!("{run} {body} {}", ctx.value::<IdempotencyKey>().unwrap())
    };
    let app = axum::Router::new().route("/pay", post(handler)).layer(rules().required());
    let server = Fixture::start(Router::new().nest_service("", app)).await;
    for replays in [false, true] {
        let response = server.request(&pay("k", "ten")).await;
        assert_eq!((&*response.body, is_replay(&response)), ("1 ten k", replays));
    }
    assert_eq!(server.request(&pay("k", "nine")).await.status, 422);
    assert_eq!(server.request(&keyed("POST", "/pay", "", "")).await.status, 400);
}

#[tokio::test]
async fn a_key_is_of_the_whole_path_also_where_a_service_sees_a_part_of_it() {
    let pay = axum::Router::new().route("/pay", axum::routing::post(async || "paid"));
    let pay = pay.layer(rules());
    let router = Router::new().nest_service("/home", pay.clone()).nest_service("/abroad", pay);
    let server = Fixture::start(router).await;
    for (path, status) in [("/home/pay", 200), ("/abroad/pay", 422), ("/home/pay", 200)] {
        let request = keyed("POST", path, "idempotency-key: k\r\n", "10");
        assert_eq!(server.request(&request).await.status, status, "{path}");
    }
}
