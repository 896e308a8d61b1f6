//! Deadlines that handlers ask for.

use std::sync::Arc;
use std::time::Duration;

use axum_core::response::Response;
use downhaul_context::{CauseKind, Context};
use downhaul_http::{Next, Request, RouteLimits, Router};
use tokio::sync::{Notify, mpsc};

use crate::support::{Client, Fixture, StillClock, get, soon};

const SECOND: Duration = Duration::from_secs(1);

/// What a handler has asked for, in the order in which it has.
type Granted = mpsc::UnboundedReceiver<Context>;

/// `/ask/a,b` asks for `a` and then for `b` seconds, tells the contexts that it got, and waits for
/// its release under none.
struct Asking {
    router: Router,
    granted: Granted,
    release: Arc<Notify>,
}

fn asking() -> Asking {
    let (tell, granted) = mpsc::unbounded_channel();
    let release = Arc::new(Notify::new());
    let released = Arc::clone(&release);
    let router = Router::new().get("/ask/{seconds}", move |mut ctx: Context, req: Request| {
        let (tell, released) = (tell.clone(), Arc::clone(&released));
        async move {
            for seconds in req.param::<String>("seconds")?.split(',') {
                ctx = req.set_timeout(&ctx, SECOND * seconds.parse().unwrap());
                tell.send(ctx.clone()).unwrap();
            }
            released.notified().await;
            Ok::<_, downhaul_http::Error>("released")
        }
    });
    Asking { router, granted, release }
}

async fn next(granted: &mut Granted) -> Context {
    soon(granted.recv()).await.unwrap()
}

/// A server with ten seconds for a request, and sixty for those that ask.
async fn within_a_minute(router: Router) -> Fixture {
    Fixture::with(router, |server| server.timeout(10 * SECOND).max_timeout(60 * SECOND)).await
}

async fn begin(server: &Fixture, path: &str) -> Client {
    let mut client = server.client().await;
    client.send(&get(path)).await;
    client
}

#[tokio::test]
async fn one_that_asks_for_less_is_answered_for_then() {
    let clock = StillClock::stop();
    let Asking { router, mut granted, .. } = asking();
    let server = Fixture::start(router).await;
    let mut client = begin(&server, "/ask/5").await;
    let ctx = next(&mut granted).await;
    assert_eq!(ctx.remaining(), Some(5 * SECOND));
    clock.advance(5 * SECOND - Duration::from_millis(2)).await;
    assert!(!ctx.is_done());
    clock.advance(Duration::from_millis(4)).await;
    assert_eq!(client.response().await.status, 504);
    assert_eq!(ctx.cause().unwrap().kind(), CauseKind::Deadline);
}

#[tokio::test]
async fn one_that_asks_for_more_is_answered_for_then_and_not_before() {
    let clock = StillClock::stop();
    let Asking { router, mut granted, .. } = asking();
    let server = within_a_minute(router).await;
    let mut client = begin(&server, "/ask/40").await;
    let ctx = next(&mut granted).await;
    clock.advance(39 * SECOND).await;
    assert!(!ctx.is_done() && server.running.in_flight() == 1);
    clock.advance(2 * SECOND).await;
    assert_eq!(client.response().await.status, 504);
    assert_eq!(ctx.cause().unwrap().kind(), CauseKind::Deadline);
}

#[tokio::test]
async fn one_that_asked_for_more_may_answer_late() {
    let clock = StillClock::stop();
    let Asking { router, mut granted, release } = asking();
    let server = within_a_minute(router).await;
    let mut client = begin(&server, "/ask/40").await;
    let _ctx = next(&mut granted).await;
    clock.advance(39 * SECOND).await;
    release.notify_one();
    assert_eq!(client.response().await.body, "released");
}

#[tokio::test]
async fn nobody_gets_more_than_the_server_lets_handlers_have() {
    let _clock = StillClock::stop();
    let Asking { router, mut granted, .. } = asking();
    let server = within_a_minute(router.clone()).await;
    let _client = begin(&server, "/ask/600").await;
    assert_eq!(next(&mut granted).await.remaining(), Some(60 * SECOND));

    let by_default = Fixture::with(router, |server| server.timeout(10 * SECOND)).await;
    let _client = begin(&by_default, "/ask/600,3,9").await;
    for left in [10, 3, 9] {
        assert_eq!(next(&mut granted).await.remaining(), Some(left * SECOND));
    }
}

#[tokio::test]
async fn what_a_route_grants_may_be_asked_for_beyond_the_cap() {
    let _clock = StillClock::stop();
    let Asking { router, mut granted, .. } = asking();
    let server = within_a_minute(router.limits(RouteLimits::new().timeout(300 * SECOND))).await;
    let _client = begin(&server, "/ask/200,900").await;
    assert_eq!(next(&mut granted).await.remaining(), Some(200 * SECOND));
    assert_eq!(next(&mut granted).await.remaining(), Some(300 * SECOND));
}

#[tokio::test]
async fn the_time_that_a_client_gives_bounds_what_is_asked_for() {
    let clock = StillClock::stop();
    let Asking { router, mut granted, .. } = asking();
    let server = within_a_minute(router).await;
    let mut client = server.client().await;
    client.send("GET /ask/40 HTTP/1.1\r\nhost: t\r\ngrpc-timeout: 20S\r\n\r\n").await;
    assert_eq!(next(&mut granted).await.remaining(), Some(20 * SECOND));
    clock.advance(21 * SECOND).await;
    assert_eq!(client.response().await.status, 504);
}

#[tokio::test]
async fn the_time_counts_from_the_head_of_the_request() {
    let clock = StillClock::stop();
    let Asking { router, mut granted, .. } = asking();
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, goes) = (Arc::clone(&begun), Arc::clone(&go));
    let router = router.middleware(move |ctx: Context, req: Request, next: Next| {
        let (begins, goes) = (Arc::clone(&begins), Arc::clone(&goes));
        async move {
            begins.notify_one();
            goes.notified().await;
            next.run(ctx, req).await
        }
    });
    let server = within_a_minute(router).await;
    let _client = begin(&server, "/ask/40").await;
    soon(begun.notified()).await;
    clock.advance(7 * SECOND).await;
    go.notify_one();
    assert_eq!(next(&mut granted).await.remaining(), Some(33 * SECOND));
}

#[tokio::test]
async fn what_was_granted_before_lives_to_its_own_deadline_and_ends_nothing_else() {
    let clock = StillClock::stop();
    let Asking { router, mut granted, release } = asking();
    let server = within_a_minute(router).await;
    let mut client = begin(&server, "/ask/20,40").await;
    let (first, second) = (next(&mut granted).await, next(&mut granted).await);
    clock.advance(19 * SECOND).await;
    assert!(!first.is_done());
    clock.advance(2 * SECOND).await;
    assert_eq!(first.cause().unwrap().kind(), CauseKind::Deadline);
    assert!(!second.is_done());
    release.notify_one();
    assert_eq!(client.response().await.body, "released");
}

#[tokio::test]
async fn middleware_between_limits_keeps_its_own() {
    let Asking { router, mut granted, release } = asking();
    async fn minds(
        ctx: Context,
        req: Request,
        next: Next,
    ) -> Result<Response, downhaul_http::Error> {
        Ok(ctx.run(next.run(ctx.clone(), req)).await?)
    }
    let inner = router.limits(RouteLimits::new().timeout(100 * SECOND)).middleware(minds);
    let outer = RouteLimits::new().timeout(200 * SECOND);
    let server =
        within_a_minute(Router::new().limits(outer).middleware(minds).nest("", inner)).await;
    let mut client = begin(&server, "/ask/40").await;
    let _ctx = next(&mut granted).await;
    release.notify_one();
    assert_eq!(client.response().await.body, "released");
}

#[tokio::test]
async fn a_client_that_leaves_ends_all_that_was_granted() {
    let Asking { router, mut granted, .. } = asking();
    let server = within_a_minute(router).await;
    let client = begin(&server, "/ask/20,40").await;
    let all = [next(&mut granted).await, next(&mut granted).await];
    drop(client);
    for ctx in all {
        assert_eq!(soon(ctx.done()).await.kind(), CauseKind::ClientGone);
    }
}

#[tokio::test]
async fn what_has_ended_is_not_begun_again() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let router = Router::new().get("/", move |ctx: Context, req: Request| {
        let tell = tell.clone();
        async move {
            ctx.done().await;
            tell.send(req.set_timeout(&ctx, 60 * SECOND)).unwrap();
        }
    });
    let server = within_a_minute(router).await;
    let client = begin(&server, "/").await;
    while server.running.in_flight() == 0 {
        tokio::task::yield_now().await;
    }
    drop(client);
    assert_eq!(next(&mut told).await.cause().unwrap().kind(), CauseKind::ClientGone);
}

#[tokio::test(start_paused = true)]
async fn without_our_server_the_time_can_only_be_less() {
    let Asking { router, mut granted, release } = asking();
    let (ctx, _canceller) = Context::background().with_timeout(10 * SECOND);
    let mut request = http::Request::get("/ask/600,5").body(axum::body::Body::empty()).unwrap();
    request.extensions_mut().insert(ctx);
    release.notify_one();
    let answer = tower::ServiceExt::oneshot(router, request).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(next(&mut granted).await.remaining(), Some(10 * SECOND));
    assert_eq!(next(&mut granted).await.remaining(), Some(5 * SECOND));
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn handlers_of_axum_ask_too() {
    use downhaul_http::{Ctx, Server};
    use tokio::net::TcpStream;

    let clock = StillClock::stop();
    let (tell, mut granted) = mpsc::unbounded_channel();
    let handler = async move |ctx: Ctx| {
        tell.send(ctx.set_timeout(40 * SECOND)).unwrap();
        std::future::pending::<()>().await;
    };
    let app = axum::Router::new().route("/", axum::routing::get(handler));
    let server = Server::bind("127.0.0.1:0").await.unwrap();
    let server = server.timeout(10 * SECOND).max_timeout(60 * SECOND);
    let running = server.serve(Context::background(), app);
    let mut client = Client(TcpStream::connect(running.address().tcp().unwrap()).await.unwrap());
    client.send(&get("/")).await;
    let ctx = next(&mut granted).await;
    clock.advance(39 * SECOND).await;
    assert!(!ctx.is_done() && running.in_flight() == 1);
    clock.advance(2 * SECOND).await;
    assert_eq!(client.response().await.status, 504);
}
