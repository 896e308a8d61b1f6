//! Clients of HTTP/2 that do harm: what each of them gets, that no more handlers run at once than a
//! connection may have streams, that another client is answered throughout, and that the server
//! drains afterwards.

mod floods;
mod handshakes;
mod resets;
mod windows;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use downhaul_context::Context;
use downhaul_http::{DrainPlan, Error, Request, Router, Server};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::{Client, Fixture, NEVER, get, soon};

/// As many streams as a connection may have.
const STREAMS: usize = 200;

/// Counts the handlers that run.
#[derive(Clone, Default)]
struct Crowd {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    begun: Arc<AtomicUsize>,
}

impl Crowd {
    fn enter(&self) -> Present {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        Present(Arc::clone(&self.now))
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }
}

/// One handler that runs.
struct Present(Arc<AtomicUsize>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A server under attack, and a client of it that only wants to be answered.
struct Siege {
    server: Fixture,
    crowd: Crowd,
    over: watch::Sender<bool>,
    bystander: JoinHandle<usize>,
}

impl Siege {
    async fn begin() -> Self {
        Self::with(|server| server).await
    }

    async fn with(set: impl FnOnce(Server) -> Server) -> Self {
        let crowd = Crowd::default();
        let server = Fixture::with(router(&crowd), set).await;
        let (over, until) = watch::channel(false);
        let client = server.client().await;
        let bystander = tokio::spawn(stand_by(client, until));
        Self { server, crowd, over, bystander }
    }

    /// The attack is over: the other client was answered, handlers were not too many at once, and
    /// the server drains by itself.
    async fn end(self) {
        self.over.send_replace(true);
        assert!(soon(self.bystander).await.unwrap() > 0);
        let most = self.crowd.most();
        assert!(most <= STREAMS, "{most} handlers at once");
        self.server.quiet().await;
        let plan = DrainPlan::default().without_lame_duck().finish(NEVER);
        let report = soon(self.server.running.drain(plan)).await;
        assert!(report.is_clean() && report.took < NEVER / 2, "{report}");
    }
}

/// `/fast` answers at once, `/held` when its context ends, `/deaf` never, `/large` in one piece of
/// 1 MiB, `/body` once it has read all that is sent.
fn router(crowd: &Crowd) -> Router {
    let crowd = crowd.clone();
    Router::new()
        .get("/fast", async |_: Context, _: Request| "fast")
        .get("/held", async |ctx: Context, _: Request| Err::<(), Error>(ctx.done().await.into()))
        .get("/large", async |_: Context, _: Request| "x".repeat(1 << 20))
        .post("/body", async |_: Context, mut req: Request| req.bytes().await)
        .get("/deaf", move |_: Context, _: Request| {
            let crowd = crowd.clone();
            async move {
                let _present = crowd.enter();
                std::future::pending::<&'static str>().await
            }
        })
}

/// Asks again and again, and counts the answers.
async fn stand_by(mut client: Client, mut until: watch::Receiver<bool>) -> usize {
    let mut answers = 0;
    loop {
        client.send(&get("/fast")).await;
        assert_eq!(client.response().await.status, 200);
        answers += 1;
        let pause = tokio::time::timeout(Duration::from_millis(5), until.wait_for(|over| *over));
        if pause.await.is_ok() {
            return answers;
        }
    }
}
