//! Deadlines, clients that go away, panics and ids.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use downhaul_context::{CauseKind, Context, RequestId, TraceContext};
use downhaul_http::observe::{AccessLog, Ending, Outcome, RequestHead, RequestObserver};
use downhaul_http::{DrainPlan, Error, Listener, OnDisconnect, Phase, Request, Router, Server};
use tokio::sync::mpsc;
use tracing::Span;

use crate::support::{Client, Fixture, Told, ended, get, held, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deaf_handler_is_answered_for_at_its_deadline_and_aborted_after_the_grace() {
    let (held, mut told) = held();
    let server = Fixture::with(held.router(), |server| {
        server.timeout(Duration::from_millis(250)).cancel_grace(Duration::from_millis(250))
    })
    .await;

    let response = server.get("/deaf").await;
    assert_eq!(response.status, 504);
    assert_eq!(response.member("title"), "Gateway Timeout");
    assert_eq!(response.header("x-request-id"), Some(&*response.member("request_id")));
    assert!(!response.closes());

    // The handler had its grace, so it is aborted after the answer.
    assert!(matches!(told.recv().await, Some(Told::Begun)));
    assert!(matches!(soon(told.recv()).await, Some(Told::Aborted)));
    server.quiet().await;
}

#[tokio::test(start_paused = true)]
async fn a_deaf_handler_that_was_cancelled_is_aborted_with_its_answer_and_has_no_second_grace() {
    let (held, mut told) = held();
    let (listener, connector) = Listener::in_memory();
    let server = Server::on(listener).cancel_grace(Duration::from_secs(2));
    let running = server.serve(Context::background(), held.router());
    let mut client = Client(connector.connect().await.unwrap());
    client.send(&get("/deaf")).await;
    assert!(matches!(told.recv().await, Some(Told::Begun)));
    let plan = DrainPlan::default().without_lame_duck().finish(Duration::from_secs(1));
    let drained = running.drain(plan.cancel_grace(Duration::from_secs(9)));
    let (report, answer) = tokio::join!(drained, client.read_response());
    assert_eq!(answer.unwrap().status, 503);
    assert!(matches!(told.recv().await, Some(Told::Aborted)));
    assert_eq!(report.took.as_secs(), 3, "{report}");
}

/// Answers while the thread of `/block` is still blocked, where it is to.
async fn is_answered_while_it_blocks(waits: bool, set: impl FnOnce(Server) -> Server) {
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = Arc::new(Mutex::new(blocked));
    let router = Router::new().get("/block", move |_: Context, _: Request| {
        let blocked = Arc::clone(&blocked);
        async move {
            if waits {
                tokio::task::yield_now().await;
            }
            let _ = blocked.lock().unwrap().recv();
            "unblocked"
        }
    });
    let brief = |server: Server| set(server.timeout(Duration::from_millis(50)));
    let server = Fixture::with(router, brief).await;
    assert_eq!(server.get("/block").await.status, 504);
    unblock.send(()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_its_thread_does_not_delay_the_504() {
    is_answered_while_it_blocks(true, |server| server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_task_of_its_own_it_does_not_even_if_it_never_waits() {
    is_answered_while_it_blocks(false, |server| server.own_tasks(true)).await;
}

#[tokio::test]
async fn the_context_of_a_request_ends_with_its_deadline() {
    let (held, mut told) = held();
    let server =
        Fixture::with(held.router(), |server| server.timeout(Duration::from_millis(20))).await;
    assert_eq!(server.get("/held").await.status, 504);
    assert!(matches!(told.recv().await, Some(Told::Begun)));
    let Some(Told::Ended(cause)) = soon(told.recv()).await else { panic!("not told") };
    assert_eq!(cause.kind(), CauseKind::Deadline);
    assert_eq!(cause.path(), "http > connection > GET /held");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_and_a_completion_at_the_same_tick_make_exactly_one_answer() {
    let deadline = Duration::from_millis(5);
    let router = Router::new().get("/edge", move |_: Context, _: Request| async move {
        // Over at the tick at which the deadline passes.
        let _ = tokio::time::timeout(deadline, std::future::pending::<()>()).await;
        "made it"
    });
    let server = Fixture::with(router, |server| server.timeout(deadline)).await;
    let mut client = server.client().await;
    for _ in 0..10_000 {
        client.send(&get("/edge")).await;
        let response = client.response().await;
        assert!([200, 504].contains(&response.status), "{response:?}");
    }
    // Nothing is left over: the next answer is that of the next request.
    client.send(&get("/nowhere")).await;
    assert_eq!(client.response().await.status, 404);
}

#[tokio::test]
async fn a_response_that_is_ready_at_the_deadline_wins() {
    // Ready in the very turn in which the server sees the deadline, which wakes the one that began
    // to wait later only after the other.
    let router = Router::new()
        .get("/first", |ctx: Context, _: Request| async move {
            ctx.done().await;
            "made it"
        })
        .get("/last", |ctx: Context, _: Request| async move {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            ctx.done().await;
            "made it"
        });
    let server = Fixture::with(router, |server| server.timeout(Duration::from_millis(10))).await;
    assert_eq!(server.get("/first").await.body, "made it");
    assert_eq!(server.get("/last").await.body, "made it");
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_request() {
    let (held, mut told) = held();
    let server = Fixture::start(held.router()).await;
    let mut client = server.client().await;
    client.send(&get("/held")).await;
    assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
    drop(client);
    assert_eq!(ended(&mut told).await, CauseKind::ClientGone);
    server.quiet().await;
}

#[tokio::test]
async fn a_deaf_handler_of_a_client_that_went_away_is_aborted_after_the_grace() {
    let (held, mut told) = held();
    let server =
        Fixture::with(held.router(), |server| server.cancel_grace(Duration::from_millis(10))).await;
    let mut client = server.client().await;
    client.send(&get("/deaf")).await;
    assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
    drop(client);
    assert!(matches!(soon(told.recv()).await, Some(Told::Aborted)));
    server.quiet().await;
}

#[tokio::test]
async fn under_finish_a_handler_outlives_its_client() {
    let (done, mut outcome) = mpsc::unbounded_channel();
    let (held, mut told) = held();
    let release = Arc::clone(&held.release);
    let router = held.router().middleware(move |ctx: Context, req, next: downhaul_http::Next| {
        let done = done.clone();
        async move {
            let response = next.run(ctx.clone(), req).await;
            done.send((response.status().as_u16(), ctx.cause())).unwrap();
            response
        }
    });
    let endings = Endings::default();
    let observer = endings.clone();
    let server = Fixture::with(router, |server| {
        server.on_disconnect(OnDisconnect::Finish).observer(observer)
    })
    .await;
    let mut client = server.client().await;
    client.send(&get("/held")).await;
    assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
    drop(client);
    assert_eq!(endings.wait().await, (499, Ending::ClientGone));
    assert_eq!(server.running.in_flight(), 1);
    release.notify_one();
    let (status, cause) = soon(outcome.recv()).await.unwrap();
    assert_eq!((status, cause.map(|cause| cause.kind())), (200, None));
    server.quiet().await;
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_connection_lives_on() {
    let router = Router::new()
        .get("/panic", |_: Context, _: Request| async {
            if true {
                panic!("on purpose");
            }
            "unreachable"
        })
        .get("/fast", async |_: Context, _: Request| "fast");
    let server = Fixture::start(router).await;
    let mut client = server.client().await;
    client.send(&get("/panic")).await;
    let response = client.response().await;
    assert_eq!(response.status, 500);
    assert!(!response.body.contains("on purpose"));
    assert!(response.header("x-request-id").is_some());
    client.send(&get("/fast")).await;
    assert_eq!(client.response().await.body, "fast");
}

#[tokio::test]
async fn every_answer_carries_the_request_id_that_the_handler_sees() {
    let router = Router::new().get("/id", |ctx: Context, _: Request| async move {
        ctx.value::<RequestId>().map(ToString::to_string).ok_or_else(|| Error::not_found("none"))
    });
    let server = Fixture::start(router).await;
    let with = |id: &str| format!("GET /id HTTP/1.1\r\nhost: t\r\nx-request-id: {id}\r\n\r\n");

    let echoed = server.request(&with("order-7f.3")).await;
    assert_eq!(echoed.header("x-request-id"), Some("order-7f.3"));
    assert_eq!(echoed.body, "order-7f.3");

    let forged = server.request(&with("x{paid=true}")).await;
    assert_eq!(forged.header("x-request-id").map(str::len), Some(36));
    assert_eq!(forged.header("x-request-id"), Some(&*forged.body));

    let missing = server.get("/nowhere").await;
    assert_eq!(missing.header("x-request-id"), Some(&*missing.member("request_id")));
}

#[tokio::test]
async fn a_traceparent_is_bound_to_the_context_if_it_is_valid() {
    let router = Router::new().get("/trace", |ctx: Context, _: Request| async move {
        ctx.value::<TraceContext>().map_or_else(|| "none".to_owned(), ToString::to_string)
    });
    let server = Fixture::start(router).await;
    let with =
        |parent: &str| format!("GET /trace HTTP/1.1\r\nhost: t\r\ntraceparent: {parent}\r\n\r\n");
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(server.request(&with(parent)).await.body, parent);
    assert_eq!(server.request(&with("00-zz")).await.body, "none");
    let two = format!("{parent}\r\ntraceparent: {parent}");
    assert_eq!(server.request(&with(&two)).await.body, "none", "of two, neither can be trusted");
}

#[tokio::test]
async fn the_snapshot_names_what_is_in_flight() {
    let (held, mut told) = held();
    let server = Fixture::start(held.router()).await;
    let mut client = server.client().await;
    client.send(&get("/held?secret=1")).await;
    assert!(matches!(soon(told.recv()).await, Some(Told::Begun)));
    let snapshot = server.running.snapshot();
    let [request] = &snapshot[..] else { panic!("{snapshot:?}") };
    assert_eq!((request.path.as_str(), request.route.as_deref()), ("/held", Some("/held")));
    assert_eq!(request.phase, Phase::Handling);
    held.release.notify_one();
    assert_eq!(client.response().await.body, "released");
    server.quiet().await;
    assert!(server.running.snapshot().is_empty());
}

#[tokio::test]
async fn an_observer_sees_each_request_end_once_with_its_route() {
    let endings = Endings::default();
    let (held, _told) = held();
    let observer = endings.clone();
    let server = Fixture::with(held.router(), |server| {
        server.observer(observer).timeout(Duration::from_millis(250))
    })
    .await;
    server.get("/fast").await;
    assert_eq!(endings.wait().await, (200, Ending::Answered));
    server.get("/deaf").await;
    assert_eq!(endings.wait().await, (504, Ending::Deadline));
    assert_eq!(endings.opened.load(Ordering::Relaxed), 2);
}

/// What the observer binds to the context.
struct Bound(String);

/// An observer that keeps what it was told.
#[derive(Clone)]
struct Endings {
    opened: Arc<AtomicUsize>,
    tell: mpsc::UnboundedSender<(u16, Ending)>,
    told: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<(u16, Ending)>>>,
}

impl Default for Endings {
    fn default() -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        Self { opened: Arc::default(), tell, told: Arc::new(tokio::sync::Mutex::new(told)) }
    }
}

impl Endings {
    async fn wait(&self) -> (u16, Ending) {
        soon(self.told.lock().await.recv()).await.unwrap()
    }
}

impl RequestObserver for Endings {
    fn open(&self, head: &RequestHead<'_>) -> (Span, Option<TraceContext>) {
        self.opened.fetch_add(1, Ordering::Relaxed);
        AccessLog::default().open(head)
    }

    fn bind(&self, ctx: Context, head: &RequestHead<'_>) -> Context {
        assert_eq!(ctx.value(), Some(head.id));
        ctx.with_value(Bound(head.uri.path().to_owned()))
    }

    fn close(&self, _span: &Span, outcome: &Outcome<'_>) {
        assert_eq!(outcome.route, Some(outcome.path));
        let bound = outcome.ctx.value::<Bound>().unwrap();
        assert_eq!(bound.0, outcome.path);
        self.tell.send((outcome.status.as_u16(), outcome.ending)).unwrap();
    }
}

#[tokio::test]
async fn a_client_names_its_request_only_where_it_may() {
    let router = || Router::new().get("/", async |_: Context, _: Request| "fine");
    let head = "GET / HTTP/1.1\r\nhost: t\r\nx-request-id: theirs\r\n\r\n";
    let server = Fixture::start(router()).await;
    assert_eq!(server.request(head).await.header("x-request-id"), Some("theirs"));
    let strict = |server: Server| server.client_request_id(false);
    let server = Fixture::with(router(), strict).await;
    let response = server.request(head).await;
    assert!(response.header("x-request-id").is_some_and(|id| id != "theirs"));
}
