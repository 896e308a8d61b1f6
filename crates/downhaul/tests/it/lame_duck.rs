//! No request is lost when a service that is busy stops, and it is the lame duck that sees to it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use downhaul::http::{Address, Error, Request, Router};
use downhaul::testing::Client;
use downhaul::{App, AppHandle, Context, HttpServer, Provided, Report, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How many clients send one request after the other.
const CLIENTS: usize = 1_000;

async fn work(ctx: Context, _req: Request) -> Result<&'static str, Error> {
    // tidy: the work of a request, which is in flight meanwhile
    ctx.run(tokio::time::sleep(Duration::from_millis(20))).await.ok();
    Ok("done")
}

/// What stands between the clients and the service: it sends nobody to a service that it knows not
/// to be ready.
struct Balancer {
    address: Provided<Address>,
    ready: AtomicBool,
    answered: AtomicUsize,
    failed: AtomicUsize,
}

impl Balancer {
    /// Looks at readiness again and again, as a probe does.
    async fn probe(&self, app: &AppHandle) {
        while app.not_ready().is_none() {
            tokio::task::yield_now().await;
        }
        self.ready.store(false, Ordering::SeqCst);
    }

    fn counts(&self) -> (usize, usize) {
        (self.answered.load(Ordering::SeqCst), self.failed.load(Ordering::SeqCst))
    }
}

/// Sends requests on connections that are kept, and opens another when it is asked to come no more
/// on this one, until there is nobody to send them to or one fails.
async fn client(balancer: Arc<Balancer>) {
    while balancer.ready.load(Ordering::SeqCst) {
        if converse(&balancer).await.is_err() {
            balancer.failed.fetch_add(1, Ordering::SeqCst);
            return;
        }
    }
}

async fn converse(balancer: &Balancer) -> io::Result<()> {
    let address = balancer.address.get().map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(address.to_string()).await?;
    let mut answer = [0; 1024];
    while balancer.ready.load(Ordering::SeqCst) {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await?;
        let read = stream.read(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer[..read]).to_lowercase();
        if !answer.starts_with("http/1.1 200") {
            return Err(io::Error::other(answer));
        }
        balancer.answered.fetch_add(1, Ordering::SeqCst);
        if answer.contains("connection: close") {
            return Ok(());
        }
    }
    Ok(())
}

/// Stops a service under load. Returns how many requests were answered and how many failed.
async fn stopped_under_load(lame_duck: Duration, probed: bool) -> (usize, usize, Report) {
    let server = HttpServer::new("127.0.0.1:0", Router::new().get("/", work));
    let server =
        server.configure(|server| server.max_connections_per_ip(2 * CLIENTS)).lame_duck(lame_duck);
    let (address, ready) = (server.address(), AtomicBool::new(true));
    let (answered, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let balancer = Arc::new(Balancer { address, ready, answered, failed });
    let mut app = App::new("shop");
    app.add("http", server, []);
    let handle = app.handle();
    let (signals, receiver) = mpsc::channel(1);
    let running = tokio::spawn(app.run_with(receiver));
    assert!(handle.ready().await);

    let mut clients = JoinSet::new();
    (0..CLIENTS).for_each(|_| drop(clients.spawn(client(Arc::clone(&balancer)))));
    while balancer.counts().0 < 2 * CLIENTS {
        tokio::task::yield_now().await;
    }
    signals.send(Signal::Terminate).await.unwrap();
    if probed {
        balancer.probe(&handle).await;
    }
    clients.join_all().await;
    let (answered, failed) = balancer.counts();
    (answered, failed, running.await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_of_a_thousand_clients_loses_a_request_when_the_service_stops() {
    let (answered, failed, report) = stopped_under_load(Duration::from_secs(3), true).await;
    assert_eq!((failed, report.exit_code()), (0, 0), "{answered} were answered, {report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_lame_duck_they_do() {
    let (_, failed, _) = stopped_under_load(Duration::ZERO, false).await;
    assert!(failed > 0, "the test above proves nothing");
}

#[tokio::test(start_paused = true)]
async fn requests_drain_when_the_lame_duck_is_over_and_for_why_the_app_stops() {
    let (sender, mut draining) = mpsc::unbounded_channel();
    let router = Router::new().get("/", move |ctx: Context, _: Request| {
        let sender = sender.clone();
        async move {
            let _ = sender.send(None);
            ctx.draining().await;
            let _ = sender.send(ctx.drain_cause());
        }
    });
    let (server, connector) = HttpServer::in_memory(router);
    let mut app = App::new("shop");
    app.add("http", server.lame_duck(Duration::from_secs(5)), []);
    let (handle, (signals, receiver)) = (app.handle(), mpsc::channel(1));
    let running = tokio::spawn(app.run_with(receiver));
    assert!(handle.ready().await);

    let asking = tokio::spawn(async move { Client::new(connector).get("/").await });
    assert!(draining.recv().await.unwrap().is_none(), "it has begun");
    let told = Instant::now();
    signals.send(Signal::Terminate).await.unwrap();
    let cause = draining.recv().await.unwrap().unwrap();
    assert_eq!((told.elapsed().as_secs(), &*cause.to_string()), (5, "signal SIGTERM"));
    assert_eq!(asking.await.unwrap().status(), 200);
    let report = running.await.unwrap();
    assert_eq!(report.component("http").words, "1 request finished while stopping");
}
