//! An axum router, served unchanged: its requests get a deadline, a cause and a drain.

use std::time::Duration;

// ANCHOR: main
use axum::{Router, routing::get};
use downhaul_context::Context;
use downhaul_http::{Ctx, DrainPlan, Error, Server};
use tokio::time::sleep;

async fn hello() -> &'static str {
    "hello"
}

async fn slow(Ctx(ctx): Ctx) -> Result<&'static str, Error> {
    ctx.run(sleep(Duration::from_secs(60))).await?;
    Ok("done")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let router = Router::new().route("/", get(hello)).route("/slow", get(slow));

    let (ctx, _canceller) = Context::root();
    let server = Server::bind("127.0.0.1:0").await?.timeout(Duration::from_millis(200));
    let running = server.serve(ctx, router);
    let url = format!("http://{}", running.address());

    assert_eq!(reqwest::get(&url).await?.text().await?, "hello");
    assert_eq!(reqwest::get(format!("{url}/slow")).await?.status(), 504);

    let report = running.drain(DrainPlan::default().without_lame_duck()).await;
    assert!(report.is_clean());
    Ok(())
}
// ANCHOR_END: main
