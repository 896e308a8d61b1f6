//! The layer under `axum::serve`, which knows nothing of contexts.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Extension, Path};
use axum::routing::get as axum_get;
use downhaul_context::{Canceller, CauseKind, Context, RequestId};
use downhaul_http::{ContextLayer, Error, StatusCode};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tower::{Layer, ServiceExt};

use crate::support::{Client, Pieces, Response, get, soon, streamed};

/// Soon over, and yet enough for a busy machine to begin an answer.
const BRIEF: Duration = Duration::from_millis(500);

struct Served {
    address: std::net::SocketAddr,
    root: Canceller,
    contexts: mpsc::UnboundedReceiver<Context>,
}

/// `/wait` waits under its context for ever, `/deaf` without it; both tell their context.
async fn serve(set: impl FnOnce(ContextLayer) -> ContextLayer) -> Served {
    let (tell, contexts) = mpsc::unbounded_channel();
    let (deaf, status_tell) = (tell.clone(), tell.clone());
    let wait = async move |Extension(ctx): Extension<Context>| {
        tell.send(ctx.clone()).unwrap();
        ctx.run(std::future::pending::<()>()).await.map_err(Error::from)
    };
    let deaf = async move |Extension(ctx): Extension<Context>| {
        deaf.send(ctx).unwrap();
        std::future::pending::<()>().await
    };
    let id = async |Extension(ctx): Extension<Context>| {
        ctx.value::<RequestId>().map(ToString::to_string).unwrap_or_default()
    };
    let left = async |Extension(ctx): Extension<Context>| {
        ctx.remaining().map_or(0, |left| left.as_millis().div_ceil(1000)).to_string()
    };
    let status = async move |Path(status): Path<u16>, Extension(ctx): Extension<Context>| {
        status_tell.send(ctx).unwrap();
        (StatusCode::from_u16(status).unwrap(), "a body")
    };
    let (ctx, root) = Context::root();
    let app = axum::Router::new()
        .route("/wait", axum_get(wait))
        .route("/deaf", axum_get(deaf))
        .route("/id", axum_get(id))
        .route("/left", axum_get(left))
        .route("/stream", axum_get(async || streamed(Pieces::Endless)))
        .route("/status/{status}", axum_get(status))
        .layer(set(ContextLayer::new(ctx)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, app).into_future());
    Served { address, root, contexts }
}

impl Served {
    async fn client(&self, request: &str) -> Client {
        let mut client = Client(TcpStream::connect(self.address).await.unwrap());
        client.send(request).await;
        client
    }

    async fn ask(&self, request: &str) -> Response {
        self.client(request).await.response().await
    }

    async fn ended(&mut self) -> CauseKind {
        let ctx = soon(self.contexts.recv()).await.unwrap();
        soon(ctx.done()).await.kind()
    }
}

#[tokio::test]
async fn a_handler_that_is_late_is_a_504_whether_it_minds_its_context_or_not() {
    let mut served = serve(|layer| layer.timeout(BRIEF)).await;
    for path in ["/wait", "/deaf"] {
        let response = served.ask(&get(path)).await;
        assert_eq!((response.status, response.member("title")), (504, "Gateway Timeout".into()));
        assert_eq!(response.header("x-request-id"), Some(&*response.member("request_id")));
        assert_eq!(served.ended().await, CauseKind::Deadline);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_ready_at_the_deadline_wins() {
    let service = tower::service_fn(async |request: http::Request<()>| {
        let ctx = request.extensions().get::<Context>().unwrap().clone();
        ctx.done().await;
        Ok::<_, Infallible>("made it")
    });
    let layer = ContextLayer::new(Context::background()).timeout(BRIEF);
    let request = http::Request::get("/").header("host", "t").body(()).unwrap();
    let answer = layer.layer(service).oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request() {
    let mut served = serve(|layer| layer).await;
    for path in ["/wait", "/deaf"] {
        drop(served.client(&get(path)).await);
        assert_eq!(served.ended().await, CauseKind::ClientGone);
    }
}

#[tokio::test]
async fn the_end_of_the_service_ends_its_requests() {
    let mut served = serve(|layer| layer).await;
    let mut client = served.client(&get("/wait")).await;
    let ctx = soon(served.contexts.recv()).await.unwrap();
    served.root.cancel();
    assert_eq!(soon(ctx.done()).await.kind(), CauseKind::Cancelled);
    assert_eq!(client.response().await.status, 503);
}

#[tokio::test]
async fn ids_and_budgets_are_read_as_by_our_server() {
    let served = serve(|layer| layer).await;
    let with = |path, line| format!("GET {path} HTTP/1.1\r\nhost: t\r\n{line}\r\n\r\n");
    let response = served.ask(&with("/id", "x-request-id: abc-1")).await;
    assert_eq!((response.header("x-request-id"), &*response.body), (Some("abc-1"), "abc-1"));
    assert_eq!(served.ask(&with("/left", "grpc-timeout: 7S")).await.body, "7");
    assert_eq!(served.ask(&with("/left", "grpc-timeout: 0S")).await.status, 504);
    assert_eq!(served.ask(&with("/left", "host: other")).await.status, 400);
}

#[tokio::test]
async fn a_stream_is_cut_at_the_deadline() {
    let served = serve(|layer| layer.timeout(BRIEF)).await;
    let read = served.client(&get("/stream")).await.rest().await;
    assert!(read.starts_with(b"HTTP/1.1 200") && !read.ends_with(b"0\r\n\r\n"));
}

#[tokio::test]
async fn a_request_whose_answer_has_no_body_is_not_taken_for_one_whose_client_left() {
    let mut served = serve(|layer| layer).await;
    for (method, status) in [("GET", 200), ("HEAD", 200), ("GET", 204), ("GET", 304)] {
        let request = format!("{method} /status/{status} HTTP/1.1\r\nhost: t\r\n\r\n");
        let _client = served.client(&request).await;
        assert_eq!(served.ended().await, CauseKind::Dropped, "{method} {status}");
    }
}

#[tokio::test]
async fn an_upgraded_connection_keeps_its_context() {
    let mut served = serve(|layer| layer).await;
    let upgrade =
        "GET /status/101 HTTP/1.1\r\nhost: t\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    let mut client = served.client(upgrade).await;
    assert_eq!(client.response().await.status, 101);
    let ctx = soon(served.contexts.recv()).await.unwrap();
    assert_eq!(ctx.cause().map(|cause| cause.kind()), None);
    served.root.cancel();
    assert_eq!(soon(ctx.done()).await.kind(), CauseKind::Cancelled);
}

#[tokio::test]
async fn a_service_that_fails_or_panics_is_not_taken_for_a_client_that_left() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let (ctx, _root) = Context::root();
    let service = tower::service_fn(move |request: http::Request<bool>| {
        tell.send(request.extensions().get::<Context>().unwrap().clone()).unwrap();
        async move {
            assert!(!request.body(), "on purpose");
            Err::<axum::response::Response, _>("failed")
        }
    });
    let service = ContextLayer::new(ctx).layer(service);
    for panics in [false, true] {
        let request = http::Request::get("/").header("host", "t").body(panics).unwrap();
        let answered = tokio::spawn(service.clone().oneshot(request)).await;
        assert!(answered.is_err() == panics && !matches!(answered, Ok(Ok(_))));
        assert_eq!(told.recv().await.unwrap().done().await.kind(), CauseKind::Dropped);
    }
}
