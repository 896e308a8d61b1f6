//! axum on our server, our router in axum, and HTTP/2.

use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use axum::routing::post;
use downhaul_context::{CauseKind, Context};
use downhaul_http::observe::Ending;
use downhaul_http::{Body, DrainPlan, Request, Router, Running, Server};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tower::{Service, ServiceExt};

use crate::support::{Client, Seen, Told, held, post as raw_post, soon};

type Sender = SendRequest<Empty<bytes::Bytes>>;

async fn axum(app: axum::Router) -> Running {
    let server = Server::bind("127.0.0.1:0").await.unwrap().body_limit(10);
    server.timeout(Duration::from_millis(500)).serve(Context::background(), app)
}

async fn connect(running: &Running) -> Client {
    Client(TcpStream::connect(running.address().tcp().unwrap()).await.unwrap())
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn an_axum_router_sees_the_context_and_is_under_the_deadline() {
    use axum::routing::get;
    use downhaul_context::RequestId;
    use downhaul_http::Ctx;

    let app = axum::Router::new()
        .route(
            "/id",
            get(|Ctx(ctx): Ctx| async move { ctx.value::<RequestId>().unwrap().to_string() }),
        )
        .route("/slow", get(std::future::pending::<()>));
    let running = axum(app).await;
    let mut client = connect(&running).await;
    client.send(&crate::support::get("/id")).await;
    let response = client.response().await;
    assert_eq!(response.header("x-request-id"), Some(&*response.body));
    client.send(&crate::support::get("/slow")).await;
    assert_eq!(client.response().await.status, 504);
}

#[tokio::test]
async fn an_axum_handler_whose_body_is_too_large_answers_413() {
    let app = axum::Router::new().route("/", post(|body: String| async { body }));
    let running = axum(app).await;
    let mut client = connect(&running).await;
    client.send(&raw_post("/", "0123456789")).await;
    assert_eq!(client.response().await.body, "0123456789");
    client.send("POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n").await;
    client.send("b\r\n0123456789a\r\n").await;
    assert_eq!(client.response().await.status, 413);
}

#[tokio::test]
async fn our_router_nests_in_axum_and_needs_no_server() {
    let ours = Router::new().get("/{name}", |ctx: Context, req: Request| async move {
        assert!(ctx.cause().is_none());
        req.param::<String>("name")
    });
    let app = axum::Router::new().nest_service("/ours", ours.clone());
    let request = http::Request::get("/ours/x").body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "x");

    let request = http::Request::get("/y").body(axum::body::Body::empty()).unwrap();
    let response = ours.oneshot(request).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "y");
}

async fn http2(running: &Running) -> (Sender, tokio::task::JoinHandle<hyper::Result<()>>) {
    let tcp = TcpStream::connect(running.address().tcp().unwrap()).await.unwrap();
    let (sender, conn) = http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.unwrap();
    (sender, tokio::spawn(conn))
}

fn request(path: &str) -> http::Request<Empty<bytes::Bytes>> {
    http::Request::get(format!("http://test{path}")).body(Empty::new()).unwrap()
}

#[tokio::test]
async fn http2_streams_are_requests_of_their_own() {
    let (held, mut told) = held();
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let running = server.serve(Context::background(), held.router());
    let (mut sender, _conn) = http2(&running).await;

    let slow = sender.send_request(request("/held"));
    assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
    let fast = soon(sender.send_request(request("/fast"))).await.unwrap();
    assert_eq!(fast.status(), 200);
    assert!(fast.headers().contains_key("x-request-id"));
    assert!(!fast.headers().contains_key("connection"));

    // A reset stream is a client that went away, and the connection lives on.
    drop(slow);
    let Some(Told::Ended(cause)) = soon(told.recv()).await else { panic!("not told") };
    assert_eq!(cause.kind(), CauseKind::ClientGone);
    assert_eq!(soon(sender.send_request(request("/fast"))).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_drain_finishes_the_streams_of_http2_and_idle_connections_do_not_hold_it() {
    let (held, mut told) = held();
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let running = server.serve(Context::background(), held.router());
    let (mut busy, busy_conn) = http2(&running).await;
    let (mut idle, idle_conn) = http2(&running).await;
    assert_eq!(soon(idle.send_request(request("/fast"))).await.unwrap().status(), 200);
    let slow = tokio::spawn(busy.send_request(request("/held")));
    assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));

    let drain = soon(running.drain(DrainPlan::default().without_lame_duck()));
    let release = async {
        soon(idle_conn).await.unwrap().unwrap();
        held.release.notify_one();
    };
    let (report, ()) = tokio::join!(drain, release);
    assert_eq!(soon(slow).await.unwrap().unwrap().status(), 200);
    assert!(report.is_clean() && report.finished == 1, "{report}");
    let _ = soon(busy_conn).await.unwrap();
}

#[tokio::test]
async fn an_idle_http2_client_that_answers_nothing_does_not_hold_the_drain() {
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let running = server.serve(Context::background(), held().0.router());
    let mut mute = connect(&running).await;
    // The preface and empty SETTINGS; after that it acknowledges nothing.
    mute.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0").await;
    mute.0.readable().await.unwrap();
    let plan = DrainPlan::default().without_lame_duck();
    let report = soon(running.drain(plan)).await;
    assert!(report.is_clean() && report.took < plan.finish, "{report}");
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn an_axum_handler_learns_its_peer() {
    use downhaul_http::Peer;

    let tell = async |Peer(peer): Peer| peer.to_string();
    let app = axum::Router::new().route("/", axum::routing::get(tell));
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let running = server.serve(Context::background(), app);
    let mut client = connect(&running).await;
    client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n").await;
    let address = client.0.local_addr().unwrap().to_string();
    assert_eq!(client.response().await.body, address);
}

#[tokio::test(start_paused = true)]
async fn an_http2_connection_that_is_old_says_so_and_finishes_its_streams() {
    let (held, mut told) = held();
    let (listener, connector) = downhaul_http::Listener::in_memory();
    let age = std::time::Duration::from_secs(100);
    let server = Server::on(listener).max_connection_age(age).timeout(std::time::Duration::MAX);
    let _running = server.serve(Context::background(), held.router());
    let io = TokioIo::new(connector.connect().await.unwrap());
    let (mut sender, conn) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let conn = tokio::spawn(conn);
    let slow = tokio::spawn(sender.send_request(request("/held")));
    assert!(matches!(told.recv().await, Some(Told::Begun)));
    tokio::time::sleep(age + age).await; // tidy: the paused clock
    assert!(sender.send_request(request("/fast")).await.is_err(), "no new stream is taken");
    held.release.notify_one();
    assert_eq!(slow.await.unwrap().unwrap().status(), 200);
    conn.await.unwrap().unwrap();
}

/// A service that says that it is not there, and is not to be called.
#[derive(Clone)]
struct Absent;

impl Service<http::Request<Body>> for Absent {
    type Response = http::Response<axum::body::Body>;
    type Error = &'static str;
    type Future = std::future::Pending<Result<Self::Response, &'static str>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Err("absent"))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        panic!("called")
    }
}

#[tokio::test]
async fn a_service_that_is_not_there_is_not_called() {
    let (see, mut seen) = mpsc::unbounded_channel();
    let server = Server::bind("127.0.0.1:0").await.unwrap().observer(Seen(see));
    let running = server.serve(Context::background(), Absent);
    let mut client = connect(&running).await;
    client.send(&crate::support::get("/")).await;
    assert_eq!(client.response().await.status, 500);
    assert_eq!(soon(seen.recv()).await, Some((500, Ending::Failed)));
}
