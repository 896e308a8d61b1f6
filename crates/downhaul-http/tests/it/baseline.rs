//! What many requests leave behind: nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use downhaul_context::{Canceller, Context};
use downhaul_http::{Error, Next, Request, RouteLimits, Router, Running, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::{JoinSet, yield_now};

use crate::frames::{self, Peer, Reply};
use crate::support::{get, soon};

/// Requests by their end; 100,000 in all.
const FAST: usize = 60_000;
const FAST_STREAMS: usize = 38_400;
const LATE: usize = 600;
const PANICKING: usize = 600;
const LEFT: usize = 200;
const RESET: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_requests_leave_tasks_contexts_and_values_as_they_were() {
    let yard = Yard::open().await;
    let before = yard.count();
    let address = yard.running.address().tcp().unwrap();
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        clients.spawn(pipeline(address, "/fast", "200 OK", FAST / 4));
        clients.spawn(streams(address, "/fast", Reply::Status(200), FAST_STREAMS / 4));
    }
    clients.spawn(pipeline(address, "/late", "504 Gateway Timeout", LATE / 2));
    clients.spawn(streams(address, "/late", Reply::Status(504), LATE / 2));
    clients.spawn(pipeline(address, "/panic", "500 Internal Server Error", PANICKING / 2));
    clients.spawn(streams(address, "/panic", Reply::Status(500), PANICKING / 2));
    clients.spawn(leave(address, Arc::clone(&yard.begun)));
    clients.join_all().await;
    reset(address, &yard.begun).await;

    // What is spawned to see to the end of something ends soon after it.
    let settled = async {
        while yard.count() != before {
            yield_now().await;
        }
    };
    let settled = tokio::time::timeout(Duration::from_secs(20), settled).await;
    assert!(settled.is_ok(), "{:?} and not {before:?}", yard.count());
    let all = FAST + FAST_STREAMS + LATE + PANICKING + LEFT + RESET;
    assert_eq!((yard.made.load(Ordering::Relaxed), all), (all, 100_000));
}

/// A server whose contexts and values are counted.
struct Yard {
    running: Running,
    root: Context,
    _canceller: Canceller,
    /// Told for each `/held` that begins.
    begun: Arc<Notify>,
    /// Values that were ever bound, and those that are there.
    made: Arc<AtomicUsize>,
    alive: Arc<AtomicUsize>,
}

#[derive(Debug, PartialEq)]
struct Count {
    tasks: usize,
    requests: usize,
    contexts: usize,
    values: usize,
}

/// A value that is counted while any context has it.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Yard {
    async fn open() -> Self {
        // Observed: each context below is listed for as long as anybody holds it.
        let (root, canceller) = Context::background().derive().observed().build();
        let (made, alive) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let begun = Arc::<Notify>::default();
        let counting = (Arc::clone(&made), Arc::clone(&alive));
        let router = router(&begun).middleware(move |ctx: Context, req, next: Next| {
            counting.0.fetch_add(1, Ordering::Relaxed);
            counting.1.fetch_add(1, Ordering::Relaxed);
            next.run(ctx.with_value(Counted(Arc::clone(&counting.1))), req)
        });
        let running = Server::bind("127.0.0.1:0").await.unwrap().serve(root.clone(), router);
        Self { running, root, _canceller: canceller, begun, made, alive }
    }

    fn count(&self) -> Count {
        Count {
            tasks: Handle::current().metrics().num_alive_tasks(),
            requests: self.running.in_flight(),
            contexts: self.root.snapshot().entries().len(),
            values: self.alive.load(Ordering::Relaxed),
        }
    }
}

fn router(begun: &Arc<Notify>) -> Router {
    let begun = Arc::clone(begun);
    let late = Router::new()
        .get("/late", async |ctx: Context, _: Request| Err::<(), _>(Error::from(ctx.done().await)))
        .limits(RouteLimits::new().timeout(Duration::from_millis(2)));
    let rest = Router::new()
        .get("/fast", async |_: Context, _: Request| "fast")
        .get("/panic", async |_: Context, _: Request| fall())
        .get("/held", move |ctx: Context, _: Request| {
            let begun = Arc::clone(&begun);
            async move {
                begun.notify_one();
                drop(ctx.done().await);
            }
        });
    Router::new().nest("", late).nest("", rest)
}

/// Panics and prints nothing.
fn fall() {
    std::panic::resume_unwind(Box::new("on purpose"))
}

/// Asks many at a time on one connection, and counts the answers.
async fn pipeline(address: SocketAddr, path: &'static str, status: &'static str, times: usize) {
    const AT_ONCE: usize = 50;
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let asked = get(path).repeat(AT_ONCE);
    for _ in 0..times / AT_ONCE {
        tcp.write_all(asked.as_bytes()).await.unwrap();
        let (mut read, mut answers) = (Vec::new(), 0);
        while answers < AT_ONCE {
            assert!(soon(tcp.read_buf(&mut read)).await.unwrap() > 0);
            let text = String::from_utf8_lossy(&read);
            answers = text.matches(&format!("HTTP/1.1 {status}\r\n")).count();
        }
    }
}

/// Asks many at a time on many streams of one connection.
async fn streams(address: SocketAddr, path: &'static str, reply: Reply, times: usize) {
    const AT_ONCE: u32 = 50;
    let mut peer = Peer::to(address).await;
    peer.send(&frames::window_update(0, 1 << 30)).await;
    for batch in 0..times as u32 / AT_ONCE {
        let asked = (0..AT_ONCE).flat_map(|n| frames::get(2 * (batch * AT_ONCE + n) + 1, path));
        peer.send(&asked.collect::<Vec<_>>()).await;
        for _ in 0..AT_ONCE {
            assert_eq!(peer.next_reply().await.1, reply);
        }
    }
}

/// Asks, and leaves once the handler has begun.
async fn leave(address: SocketAddr, begun: Arc<Notify>) {
    for _ in 0..LEFT {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        tcp.write_all(get("/held").as_bytes()).await.unwrap();
        soon(begun.notified()).await;
    }
}

/// Asks on a stream, and resets it once the handler has begun.
async fn reset(address: SocketAddr, begun: &Notify) {
    let mut peer = Peer::to(address).await;
    for n in 0..RESET as u32 {
        peer.send(&frames::get(2 * n + 1, "/held")).await;
        soon(begun.notified()).await;
        peer.send(&frames::reset(2 * n + 1)).await;
    }
    assert!(peer.ping().await.is_some());
}
