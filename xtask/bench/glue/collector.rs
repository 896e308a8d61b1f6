//! A collector of this process that takes everything and keeps nothing.

use std::sync::OnceLock;
use std::thread;

use downhaul_context::Context;
use downhaul_http::{Request, Router, Server};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// Its endpoint for OTLP. It listens until the process ends.
pub(super) fn endpoint() -> &'static str {
    static ENDPOINT: OnceLock<String> = OnceLock::new();
    ENDPOINT.get_or_init(|| {
        let (sender, url) = oneshot::channel();
        thread::spawn(|| collect(sender));
        url.blocking_recv().expect("it listens")
    })
}

pub(crate) fn router() -> Router {
    Router::new()
        .post("/v1/traces", async |_ctx: Context, mut req: Request| req.bytes().await.map(drop))
}

fn collect(started: oneshot::Sender<String>) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let server = Server::bind("127.0.0.1:0").await.expect("a free port");
        let running = server.serve(Context::background(), router());
        let _ = started.send(format!("http://{}", running.address()));
        std::future::pending::<()>().await;
    });
}
