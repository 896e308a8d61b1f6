//! Routes with limits of their own.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use downhaul_context::{CauseKind, Context, RequestId};
use downhaul_http::observe::Ending;
use downhaul_http::{Listener, OnDisconnect, Request, RouteLimits, Router, Server};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};
use tower::{Layer, Service};

use crate::support::{Client, Fixture, Seen, Told, ended, get, held, post, soon};

const SHORT: Duration = Duration::from_millis(30);
/// Soon over, and yet enough for a busy machine to find a route.
const BRIEF: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(600);

/// `/left` answers the seconds that are left, rounded up.
fn left() -> Router {
    Router::new().get("/left", async |ctx: Context, _: Request| {
        let left = ctx.remaining().map(|left| left.as_millis().div_ceil(1000));
        left.map_or_else(|| "no end".to_owned(), |left| left.to_string())
    })
}

fn size() -> Router {
    let size =
        async |_: Context, mut req: Request| req.bytes().await.map(|all| all.len().to_string());
    Router::new().post("/size", size)
}

#[tokio::test]
async fn one_may_take_longer_than_the_others() {
    let (slow, mut told) = held();
    let (other, _told) = held();
    let router = Router::new()
        .nest("/slow", slow.router().limits(RouteLimits::new().timeout(LONG)))
        .nest("", other.router());
    let server = Fixture::with(router, |server| server.timeout(BRIEF)).await;
    let mut client = server.client().await;
    client.send(&get("/slow/held")).await;
    assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
    // This one began later, and its time is over.
    assert_eq!(server.get("/held").await.status, 504);
    slow.release.notify_one();
    assert_eq!(client.response().await.body, "released");
}

#[tokio::test]
async fn one_may_take_less_than_the_others() {
    let (held, mut told) = held();
    let server = Fixture::start(held.router().limits(RouteLimits::new().timeout(SHORT))).await;
    assert_eq!(server.get("/held").await.status, 504);
    assert!(matches!(told.recv().await, Some(Told::Begun)));
    assert_eq!(ended(&mut told).await, CauseKind::Deadline);
    server.quiet().await;
}

#[tokio::test]
async fn limits_count_also_where_they_come_late() {
    let (begun, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (held, _told) = held();
    let (begins, released) = (Arc::clone(&begun), Arc::clone(&release));
    let slow = held.router().limits(RouteLimits::new().timeout(SHORT));
    let router = Router::new().nest("", slow).middleware(move |ctx, req, next| {
        let (begins, released) = (Arc::clone(&begins), Arc::clone(&released));
        async move {
            begins.notify_one();
            released.notified().await;
            next.run(ctx, req).await
        }
    });
    let server = Fixture::start(router).await;
    let mut client = server.client().await;
    client.send(&get("/deaf")).await;
    soon(begun.notified()).await;
    // By now the server waits for the middleware, under its own timeout.
    tokio::task::yield_now().await;
    release.notify_one();
    assert_eq!(client.response().await.status, 504);
}

#[tokio::test]
async fn what_a_request_carries_goes_on_under_its_own_limits() {
    let id = async |ctx: Context, _: Request| ctx.value::<RequestId>().unwrap().to_string();
    let router = Router::new().get("/", id).limits(RouteLimits::new().timeout(LONG));
    let response = Fixture::start(router).await.get("/").await;
    assert_eq!(response.header("x-request-id"), Some(&*response.body));
}

#[tokio::test]
async fn what_does_not_mind_its_own_deadline_is_aborted_after_its_own_grace() {
    let (held, mut told) = held();
    let (inner, outer) =
        (RouteLimits::new().timeout(SHORT), RouteLimits::new().cancel_grace(SHORT));
    let router = held.router().limits(outer).limits(inner);
    let server = Fixture::with(router, |server| server.cancel_grace(LONG));
    let server = server.await;
    assert_eq!(server.get("/deaf").await.status, 504);
    assert!(matches!(told.recv().await, Some(Told::Begun)));
    assert!(matches!(soon(told.recv()).await, Some(Told::Aborted)));
    server.quiet().await;
}

#[tokio::test]
async fn a_client_shortens_whatever_a_route_grants() {
    let server = Fixture::start(left().limits(RouteLimits::new().no_timeout())).await;
    assert_eq!(server.get("/left").await.body, "no end");
    let hurried = "GET /left HTTP/1.1\r\nhost: t\r\ngrpc-timeout: 7S\r\n\r\n";
    assert_eq!(server.request(hurried).await.body, "7");
}

#[tokio::test]
async fn the_innermost_limits_count() {
    let timeout = |seconds| RouteLimits::new().timeout(Duration::from_secs(seconds));
    let inner = Router::new().nest("/inner", left().limits(timeout(7)));
    let server = Fixture::start(inner.nest("", left()).limits(timeout(9))).await;
    assert_eq!(server.get("/inner/left").await.body, "7");
    assert_eq!(server.get("/left").await.body, "9");
}

#[tokio::test]
async fn one_may_take_larger_or_smaller_bodies() {
    let of = |bytes| size().limits(RouteLimits::new().body_limit(bytes));
    let router = Router::new().nest("/large", of(100)).nest("/small", of(5)).nest("", size());
    let server = Fixture::with(router, |server| server.body_limit(10)).await;
    for (path, most) in [("/large/size", 100), ("/size", 10), ("/small/size", 5)] {
        let fits = server.request(&post(path, &"x".repeat(most))).await;
        assert_eq!((fits.status, &*fits.body), (200, &*most.to_string()), "{path}");
        let beyond = server.request(&post(path, &"x".repeat(most + 1))).await;
        assert_eq!((beyond.status, beyond.closes()), (413, true), "{path}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_what_was_granted() {
    let (held, mut told) = held();
    let server = Fixture::start(held.router().limits(RouteLimits::new().timeout(LONG))).await;
    let mut client = server.client().await;
    client.send(&get("/held")).await;
    assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
    drop(client);
    assert_eq!(ended(&mut told).await, CauseKind::ClientGone);
    server.quiet().await;
}

#[tokio::test]
async fn one_may_finish_what_its_client_has_left() {
    let (held, mut told) = held();
    let policy = |policy| RouteLimits::new().on_disconnect(policy);
    let router = held.router().limits(policy(OnDisconnect::Cancel));
    let router = router.limits(policy(OnDisconnect::Finish));
    let router = router.limits(RouteLimits::new().timeout(LONG));
    let (done, mut finished) = mpsc::unbounded_channel();
    let outer = router.middleware(move |ctx, req, next| {
        let done = done.clone();
        async move {
            let answer = next.run(ctx.clone(), req).await;
            done.send((answer.status(), ctx.is_done())).unwrap();
            answer
        }
    });
    let (see, mut seen) = mpsc::unbounded_channel();
    let server = Fixture::with(outer, |server| server.observer(Seen(see))).await;
    let mut client = server.client().await;
    client.send(&get("/held")).await;
    assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
    drop(client);
    assert_eq!(soon(seen.recv()).await, Some((499, Ending::ClientGone)));
    held.release.notify_one();
    assert_eq!(soon(finished.recv()).await.unwrap(), (http::StatusCode::OK, false));
    server.quiet().await;
}

#[tokio::test]
async fn one_has_a_bound_of_its_own_and_turns_the_rest_away() {
    let (held, mut told) = held();
    let bounded = held.router().limits(RouteLimits::new().concurrency(1));
    let server = Fixture::start(Router::new().nest("/bounded", bounded).nest("", left())).await;
    let mut first = server.client().await;
    first.send(&get("/bounded/held")).await;
    assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
    let second = server.get("/bounded/held").await;
    assert_eq!((second.status, second.header("retry-after")), (503, Some("1")));
    assert_eq!(server.get("/left").await.status, 200, "others have their own");
    held.release.notify_one();
    assert_eq!(first.response().await.body, "released");
    assert_eq!(server.get("/bounded/fast").await.body, "fast", "the place is free again");
}

#[tokio::test]
async fn what_was_granted_ends_with_its_answer() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let router = Router::new().get("/", move |ctx: Context, _: Request| {
        tell.send(ctx).unwrap();
        async { "answered" }
    });
    let server = Fixture::start(router.limits(RouteLimits::new().timeout(LONG))).await;
    assert_eq!(server.get("/").await.body, "answered");
    let ctx = soon(told.recv()).await.unwrap();
    assert_eq!(soon(ctx.done()).await.kind(), CauseKind::Dropped);
}

#[tokio::test]
async fn routes_of_axum_have_them_as_a_layer() {
    use axum::routing::{get as axum_get, post as axum_post};
    use downhaul_http::Server;

    let (release, begun) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (released, begins) = (Arc::clone(&release), Arc::clone(&begun));
    let long = async move || {
        begins.notify_one();
        released.notified().await;
    };
    let app = axum::Router::new()
        .route("/short", axum_get(std::future::pending::<()>))
        .layer(RouteLimits::new().timeout(SHORT))
        .route("/size", axum_post(async |body: String| body.len().to_string()))
        .layer(RouteLimits::new().body_limit(20))
        .route("/long", axum_get(long))
        .layer(RouteLimits::new().timeout(LONG).concurrency(1));
    let server = Server::bind("127.0.0.1:0").await.unwrap().timeout(BRIEF).body_limit(10);
    let running = server.serve(Context::background(), app);
    let address = running.address().tcp().unwrap();
    let connect = async || Client(TcpStream::connect(address).await.unwrap());
    let (mut one, mut two) = (connect().await, connect().await);
    one.send(&get("/long")).await;
    soon(begun.notified()).await;
    // The outermost layer is around all of them, and its one place is taken.
    two.send(&post("/size", &"x".repeat(20))).await;
    assert_eq!(two.response().await.status, 503);
    release.notify_one();
    assert_eq!(one.response().await.status, 200);

    let mut two = connect().await;
    two.send(&post("/size", &"x".repeat(20))).await;
    assert_eq!(two.response().await.body, "20");
    two.send(&get("/short")).await;
    assert_eq!(two.response().await.status, 504);
}

#[tokio::test]
async fn their_bound_is_one_also_where_no_server_of_ours_serves() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let service = tower::service_fn(move |_: http::Request<()>| {
        let (release, released) = oneshot::channel::<()>();
        tell.send(release).unwrap();
        async move {
            let _ = released.await;
            Ok::<_, Infallible>("done")
        }
    });
    let mut service = RouteLimits::new().concurrency(1).layer(service);
    let first = tokio::spawn(service.call(http::Request::new(())));
    let release = soon(told.recv()).await.unwrap();
    let second = soon(service.call(http::Request::new(()))).await.unwrap();
    assert_eq!(second.status(), 503);
    drop(release);
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_context_of_their_own_ends_with_the_answer_whoever_still_holds_the_request() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let router = Router::new().get("/", move |ctx: Context, req: Request| {
        let tell = tell.clone();
        async move {
            tokio::spawn(async move {
                let _ = tell.send(ctx.done().await);
                drop(req);
            });
            "answered"
        }
    });
    let (listener, connector) = Listener::in_memory();
    let router = router.limits(RouteLimits::new().no_timeout());
    let running = Server::on(listener).serve(Context::background(), router);
    let mut client = Client(connector.connect().await.unwrap());
    client.send(&get("/")).await;
    assert_eq!(client.read_response().await.unwrap().status, 200);
    assert_eq!(soon(told.recv()).await.unwrap().kind(), CauseKind::Cancelled);
    assert_eq!(running.in_flight(), 0);
}
