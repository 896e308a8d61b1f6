//! Components made of closures.

use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use downhaul::consumer::{
    Consumer, Incoming, MemoryBroker, Message, MessageObserver, Outgoing, Processed, Publisher,
    Subscription,
};
use downhaul::http::{Error, Listener, Request, RequestObserver, Router, observe};
use downhaul::testing::{Client, SpanRecorder, TestApp};
use downhaul::{
    App, ConsumerWorker, Context, Ending, Handle, HttpServer, HttpSpans, Job, NotProvided, Outcome,
    Policy, Resource, Restart, Signal, State, Task,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::fixture::Diary;

/// An app of one task.
fn app(task: Task, policy: Policy) -> (App, Handle) {
    let mut app = App::new("shop");
    let task = app.add("task", task, []);
    app.policy(task, policy);
    (app, task)
}

/// The same, as it starts.
fn spawn(task: Task) -> TestApp {
    TestApp::spawn(app(task, Policy::new()).0)
}

async fn until_draining(ctx: Context) -> io::Result<()> {
    ctx.draining().await;
    Ok(())
}

async fn no_disk(_ctx: Context) -> io::Result<()> {
    Err(io::Error::other("no disk"))
}

async fn nothing(_ctx: Context) -> io::Result<()> {
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_task_runs_until_its_context_drains() {
    let app = spawn(Task::new(until_draining));
    app.ready().await;
    let report = app.stop().await;
    assert_eq!((report.ending.clone(), report.took.as_secs()), (Ending::Clean, 0), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_stopped_by_hand_ends_as_it_should() {
    let (app, task) = app(Task::new(until_draining), Policy::new());
    let app = TestApp::start(app).await;
    assert_eq!(app.handle().stop(task).await.unwrap().state, State::Stopped);
    assert_eq!(app.handle().start(task).await.unwrap().starts, 2);
    app.stop().await.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_stops_the_app() {
    let report = spawn(Task::new(no_disk)).ended().await;
    assert_eq!(report.ending, Ending::Failed("task: no disk".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_has_failed_with_its_words() {
    let task = Task::new(|_ctx| async { panic!("no {}", "memory") as io::Result<()> });
    let report = spawn(task).ended().await;
    assert_eq!(report.ending, Ending::Failed("task: it panicked: no memory".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_though_nobody_asked_has_failed() {
    let report = spawn(Task::new(nothing)).ended().await;
    let words = "task: it ended, and nobody had asked it to";
    assert_eq!(report.ending, Ending::Failed(words.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_may_end_is_done_and_the_app_goes_on() {
    let app = spawn(Task::new(nothing).may_end());
    app.until("task done", 1).await;
    assert_eq!(app.handle().not_ready(), None);
    app.stop().await.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn a_task_that_the_app_is_for_stops_it_when_it_is_done() {
    let report = spawn(Task::new(nothing).stops_app()).ended().await;
    assert_eq!((report.ending.clone(), &*report.cause), (Ending::Clean, "task is done"));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_is_called_again() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let task = Task::new(move |ctx| {
        let call = counted.fetch_add(1, Ordering::SeqCst);
        async move { if call < 3 { no_disk(ctx).await } else { until_draining(ctx).await } }
    });
    let app = TestApp::spawn(app(task, Policy::new().restart(Restart::new())).0);
    app.until("task started", 4).await;
    app.stop().await.assert_clean();
    assert_eq!(calls.load(Ordering::SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_hears_nothing_is_aborted_and_named() {
    /// Says when the work is dropped.
    struct Dropped(Diary);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.write("dropped");
        }
    }

    let diary = Diary::default();
    let work = diary.clone();
    let task = Task::new(move |_ctx| {
        let dropped = Dropped(work.clone());
        async move {
            std::future::pending::<()>().await;
            drop(dropped);
            io::Result::Ok(())
        }
    });
    let app = spawn(task);
    app.ready().await;
    let report = app.stop().await;
    assert_eq!((report.ending.clone(), report.exit_code()), (Ending::CutShort, 1), "{report}");
    assert_eq!(report.components[0].outcome, Outcome::Abandoned);
    assert!(report.to_string().contains("not finished: its work in the background"), "{report}");
    tokio::task::yield_now().await;
    assert_eq!(diary.read(), ["dropped"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_says_what_it_did_and_what_it_has_not_finished() {
    let left = Arc::new(AtomicU32::new(0));
    let task = || {
        let (counted, named) = (Arc::clone(&left), Arc::clone(&left));
        Task::new(until_draining)
            .last_words(move || format!("{} left", counted.load(Ordering::SeqCst)))
            .unfinished(move || vec!["one".to_owned(); named.load(Ordering::SeqCst) as usize])
    };
    let report = TestApp::start(app(task(), Policy::new()).0).await.stop().await;
    report.assert_clean();
    assert_eq!(report.component("task").words, "0 left");

    left.store(1, Ordering::SeqCst);
    let report = TestApp::start(app(task(), Policy::new()).0).await.stop().await;
    assert_eq!(report.ending, Ending::CutShort, "it returned, and left work behind");
    let task = report.component("task");
    assert_eq!((&*task.words, &task.unfinished[..]), ("1 left", &["one".to_owned()][..]));
}

#[tokio::test]
async fn a_task_that_blocks_has_a_thread_of_its_own() {
    let (here, there) = (std::thread::current().id(), Diary::default());
    let written = there.clone();
    let task = Task::blocking(move |ctx: Context| {
        written.write(format!("{}", std::thread::current().id() == here));
        while !ctx.is_draining() {
            std::thread::yield_now();
        }
        io::Result::Ok(())
    });
    let app = spawn(task);
    while there.read().is_empty() {
        tokio::task::yield_now().await;
    }
    app.stop().await.assert_clean();
    assert_eq!(there.read(), ["false"]);
}

#[tokio::test(start_paused = true)]
async fn what_needs_a_job_starts_when_it_is_done() {
    let diary = Diary::default();
    let (first, then) = (diary.clone(), diary.clone());
    let mut app = App::new("shop");
    let migrate = Job::new(move |_ctx| {
        let diary = first.clone();
        async move {
            // tidy: the clock is paused
            tokio::time::sleep(Duration::from_secs(5)).await;
            diary.write("migrated");
            io::Result::Ok(())
        }
    });
    let migrate = app.add("migrate", migrate, []);
    let task = Task::new(move |ctx| {
        then.write("at work");
        until_draining(ctx)
    });
    app.add("task", task, [migrate]);
    let app = TestApp::start(app).await;
    assert_eq!(diary.read(), ["migrated", "at work"]);
    app.stop().await.assert_clean();
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_is_why_the_app_did_not_start() {
    let mut app = App::new("shop");
    app.add("migrate", Job::new(no_disk), []);
    let report = TestApp::spawn(app).ended().await;
    assert_eq!(report.to_string(), "shop did not start: migrate: no disk");
}

#[tokio::test(start_paused = true)]
async fn a_resource_is_open_for_those_that_need_it_and_closed_after_them() {
    let diary = Diary::default();
    let (closing, using) = (diary.clone(), diary.clone());
    let pool = Resource::new(|_ctx| async { io::Result::Ok(7_u32) }).close(move |pool| {
        closing.write(format!("closed {pool}"));
        std::future::ready(())
    });
    let connections = pool.provided();
    let words = "a resource of type `u32` is not open: does the component that uses it need it?";
    assert_eq!(connections.get().unwrap_err().to_string(), words);

    let late = connections.clone();
    let mut app = App::new("shop");
    let pool = app.add("pool", pool, []);
    let task = Task::new(move |ctx| {
        let (pool, diary) = (connections.get(), using.clone());
        async move {
            diary.write(format!("using {}", pool?));
            ctx.draining().await;
            diary.write("used");
            Ok::<_, NotProvided>(())
        }
    });
    app.add("task", task, [pool]);
    TestApp::start(app).await.stop().await.assert_clean();
    assert_eq!(diary.read(), ["using 7", "used", "closed 7"]);
    assert!(late.get().is_err());
}

/// What became of a resource whose closing takes that long. It has eight seconds and a last one,
/// and the app keeps the tenth.
async fn closed_in(time: Duration) -> (Outcome, Vec<String>) {
    let diary = Diary::default();
    let closing = diary.clone();
    let pool = Resource::new(|_ctx| async { io::Result::Ok(()) }).close(move |()| {
        let closing = closing.clone();
        async move {
            // tidy: the clock is paused
            tokio::time::sleep(time).await;
            closing.write("closed");
        }
    });
    let mut app = App::new("shop").grace(Duration::from_secs(10));
    let pool = app.add("pool", pool, []);
    app.policy(pool, Policy::new().cancel_grace(Duration::from_secs(1)));
    let report = TestApp::start(app).await.stop().await;
    (report.components[0].outcome, diary.read())
}

#[tokio::test(start_paused = true)]
async fn a_resource_is_closed_to_its_end_or_said_to_be_left_behind() {
    let closed = vec!["closed".to_owned()];
    assert_eq!(closed_in(Duration::from_secs(1)).await, (Outcome::Stopped, closed.clone()));
    let last_moment = Duration::from_millis(8_500);
    assert_eq!(closed_in(last_moment).await, (Outcome::Cancelled, closed), "told, and let finish");
    assert_eq!(closed_in(Duration::MAX).await, (Outcome::Abandoned, vec![]));
}

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

/// Counts the messages that were processed.
#[derive(Debug, Default)]
struct Count(AtomicU32);

impl MessageObserver for Count {
    fn processed(&self, _attempt: &Processed<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
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

#[tokio::test(start_paused = true)]
async fn a_consumer_keeps_the_observer_that_it_was_given() {
    let (count, broker) = (Arc::new(Count::default()), Arc::new(MemoryBroker::new()));
    let consumer =
        Consumer::new(Subscription::new("orders"), async |_: Context, _: Incoming<Message>| {})
            .observer(count.clone());
    let mut app = App::new("shop");
    app.add("orders", ConsumerWorker::new(consumer, broker.clone()), []);
    let app = TestApp::start(app).await;
    let order = Outgoing::to_queue("orders", Message::new("7"));
    Publisher::new(broker).publish(&Context::background(), order).await.unwrap();
    app.stop().await.assert_clean();
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_while_it_stops_is_no_clean_end() {
    let task = Task::new(|ctx| async move {
        ctx.draining().await;
        Err::<(), _>("the last batch was not written")
    });
    let mut app = App::new("shop");
    app.add("writer", task, []);
    let report = TestApp::start(app).await.stop().await;
    assert_eq!((&report.ending, report.exit_code()), (&Ending::CutShort, 1), "{report}");
    let writer = report.component("writer");
    assert_eq!(writer.unfinished, ["its work: the last batch was not written"]);
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
