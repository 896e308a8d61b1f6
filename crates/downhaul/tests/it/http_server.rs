//! [`HttpServer`] as a component.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use downhaul::http::{Error, Listener, Request, RequestObserver, Router, observe};
use downhaul::testing::{Client, SpanRecorder, TestApp};
use downhaul::{App, Context, HttpServer, HttpSpans, Outcome, Policy, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

#[tokio::test]
async fn a_server_says_where_it_listens_and_can_be_started_again() {
    let server = HttpServer::new("127.0.0.1:0", Router::new());
    let address = server.address();
    let mut app = App::new("shop");
    let server = app.add("http", server, []);
    let app = TestApp::start(app).await;
    let reach = || TcpStream::connect(address.get().unwrap().to_string());
    reach().await.unwrap();
    assert_eq!(app.handle().restart(server).await.unwrap().starts, 2);
    reach().await.unwrap();
    app.stop().await.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn a_server_in_memory_is_reached_by_the_same_connector_in_each_life() {
    let (server, connector) = HttpServer::in_memory(Router::new());
    connector.connect().await.unwrap_err();
    let mut app = App::new("shop");
    let server = app.add("http", server, []);
    let app = TestApp::start(app).await;
    connector.connect().await.unwrap();
    app.handle().restart(server).await.unwrap();
    connector.connect().await.unwrap();
    app.stop().await.assert_clean();
    connector.connect().await.unwrap_err();
}

#[tokio::test]
async fn a_server_listens_on_all_that_it_is_given() {
    let (listener, connector) = Listener::in_memory();
    drop(listener);
    let memory = connector.clone();
    let both = move || {
        let memory = memory.listen();
        async { Ok(vec![Listener::bind("127.0.0.1:0").await?, memory]) }
    };
    let server = HttpServer::listening(both, Router::new());
    let address = server.address();
    let mut app = App::new("shop");
    app.add("http", server, []);
    let app = TestApp::start(app).await;
    TcpStream::connect(address.get().unwrap().to_string()).await.unwrap();
    connector.connect().await.unwrap();
    app.stop().await.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn a_server_without_a_listener_does_not_start() {
    let server = HttpServer::listening(|| async { Ok(Vec::new()) }, Router::new());
    let mut app = App::new("shop");
    app.add("http", server, []);
    TestApp::spawn(app).ended().await.assert_failed("there is no socket to listen on");
}

/// The thread that the clock has woken is the one that looked at it, and the others sleep on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_when_the_clock_has_woken_it_delays_neither_its_504_nor_the_stop() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let router = Router::new().get("/", move |_: Context, _: Request| {
        let held = Arc::clone(&held);
        async move {
            let _ = timeout(Duration::from_millis(1), pending::<()>()).await;
            let _ = held.lock().unwrap().recv();
        }
    });
    let (server, connector) = HttpServer::in_memory(router);
    let server = server.configure(|server| server.timeout(Duration::from_millis(50)));
    let mut app = App::new("shop");
    app.add("http", server, []);
    let app = app.grace(Duration::from_millis(500));
    let (handle, (signal, signals)) = (app.handle(), mpsc::channel(1));
    let running = tokio::spawn(app.run_with(signals));
    assert!(handle.ready().await);

    assert_eq!(Client::new(connector).get("/").await.status(), 504);
    signal.send(Signal::Terminate).await.unwrap();
    assert_eq!(running.await.unwrap().component("http").outcome, Outcome::Cancelled);
    drop(release);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_cut_short_is_named_in_the_report() {
    let (sender, mut begun) = mpsc::unbounded_channel();
    let router = Router::new().get("/orders/7", move |ctx: Context, _: Request| {
        let _ = sender.send(());
        async move { Ok::<(), Error>(ctx.run(pending()).await?) }
    });
    let (server, connector) = HttpServer::in_memory(router);
    let mut app = App::new("shop");
    app.add("http", server, []);
    let app = TestApp::start(app).await;
    let asking = tokio::spawn(async move { Client::new(connector).get("/orders/7").await });
    begun.recv().await.unwrap();
    let report = app.stop().await;
    assert_eq!(asking.await.unwrap().status(), 503);
    let [line] = &report.component("http").unfinished[..] else { panic!("{report}") };
    assert!(line.starts_with("GET /orders/7, request_id="), "{line}");
    assert!(line.ends_with(" s: cut short"), "{line}");
}

#[tokio::test(start_paused = true)]
async fn what_a_server_cut_short_in_an_earlier_life_is_forgotten() {
    let (sender, mut begun) = mpsc::unbounded_channel();
    let router = Router::new().get("/", move |ctx: Context, _: Request| {
        let _ = sender.send(());
        async move { Ok::<(), Error>(ctx.run(pending()).await?) }
    });
    let (server, connector) = HttpServer::in_memory(router);
    let mut app = App::new("shop");
    let http = app.add("http", server, []);
    app.policy(http, Policy::new().stop_within(Duration::from_secs(1)));
    let app = TestApp::start(app).await;
    let asking = tokio::spawn(async move { Client::new(connector).get("/").await });
    begun.recv().await.unwrap();
    app.handle().restart(http).await.unwrap();
    assert_eq!(asking.await.unwrap().status(), 503);
    app.signal(Signal::Terminate);
    app.signal(Signal::Terminate);
    let report = app.ended().await;
    assert_eq!(report.component("http").unfinished, [""; 0], "{report}");
}

/// The line of a request, as somebody wants it.
struct OwnLines(mpsc::UnboundedSender<(http::StatusCode, u64)>);

impl RequestObserver for OwnLines {
    fn close(&self, _: &tracing::Span, outcome: &observe::Outcome<'_>) {
        self.0.send((outcome.status, outcome.sent)).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_with_lines_of_its_own_keeps_its_spans() {
    let (spans, (sender, mut lines)) = (SpanRecorder::start(), mpsc::unbounded_channel());
    let router = Router::new().get("/orders", async |_: Context, _: Request| "fine");
    let (server, connector) = HttpServer::in_memory(router);
    let observer = HttpSpans::with_lines(OwnLines(sender));
    let server = server.configure(move |server| server.observer(observer.clone()));
    let mut app = App::new("shop");
    app.add("http", server, []);
    let app = TestApp::start(app).await;
    Client::new(connector).get("/orders").await;
    app.stop().await.assert_clean();
    assert_eq!(lines.recv().await, Some((http::StatusCode::OK, 4)));
    assert_eq!(spans.named("GET /orders").attributes["http.response.status_code"], "200");
}

/// What a client reads whose request does not finish, of an app that is stopped in this way.
async fn read_at_the_end(grace: Duration, policy: Policy, signals: usize) -> String {
    let (sender, mut begun) = mpsc::unbounded_channel();
    let router = Router::new().get("/", move |ctx: Context, _: Request| {
        let _ = sender.send(());
        async move { Ok::<(), Error>(ctx.run(pending()).await?) }
    });
    let server = HttpServer::new("127.0.0.1:0", router);
    let (address, mut app) = (server.address(), App::new("shop").grace(grace));
    let http = app.add("http", server, []);
    app.policy(http, policy);
    let app = TestApp::start(app).await;
    let mut client = TcpStream::connect(address.get().unwrap().tcp().unwrap()).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    begun.recv().await.unwrap();
    (0..signals).for_each(|_| app.signal(Signal::Terminate));
    let report = app.ended().await;
    assert_eq!(report.component("http").unfinished.len(), 1, "{report}");
    let mut read = String::new();
    let _ = client.read_to_string(&mut read).await;
    read
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_cut_short_is_answered_however_little_time_there_is() {
    let millis = Duration::from_millis;
    for (times, grace, policy, signals) in [
        (2, millis(400), Policy::new(), 1),
        (2, millis(4_000), Policy::new().stop_within(millis(400)), 1),
        (2, millis(1_000), Policy::new().cancel_grace(millis(500)), 1),
        (20, millis(4_000), Policy::new(), 2),
    ] {
        for _ in 0..times {
            let read = read_at_the_end(grace, policy, signals).await;
            assert!(read.starts_with("HTTP/1.1 503"), "{grace:?}, {policy:?}: {read}");
        }
    }
}

/// Its connection waits for the rest of the body when the answer is out, and the server for its
/// connection: it is not over when the report asks what was in flight.
#[tokio::test(start_paused = true)]
async fn an_upload_that_was_cut_short_is_named_in_the_report() {
    let (sender, mut begun) = mpsc::unbounded_channel();
    let router = Router::new().post("/upload", move |ctx: Context, mut request: Request| {
        let _ = sender.send(());
        async move { ctx.run(request.bytes()).await? }
    });
    let (server, connector) = HttpServer::in_memory(router);
    let mut app = App::new("shop").grace(Duration::from_secs(4));
    app.add("http", server, []);
    let app = TestApp::start(app).await;
    let mut client = connector.connect().await.unwrap();
    let head = b"POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n";
    client.write_all(head).await.unwrap();
    begun.recv().await.unwrap();
    let report = app.stop().await;
    let [line] = &report.component("http").unfinished[..] else { panic!("{report}") };
    assert!(line.starts_with("POST /upload, request_id="), "{line}");
}
