//! An axum router under `axum::serve`, whose requests are lifetimes by a layer.

use std::time::Duration;

// ANCHOR: main
use axum::{Router, routing::get};
use downhaul_context::Context;
use downhaul_http::{ContextLayer, Ctx, Error};
use tokio::net::TcpListener;
use tokio::time::sleep;

async fn slow(Ctx(ctx): Ctx) -> Result<&'static str, Error> {
    ctx.run(sleep(Duration::from_secs(60))).await?;
    Ok("done")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (service, canceller) = Context::root();
    let layer = ContextLayer::new(service.clone()).timeout(Duration::from_millis(200));
    let router = Router::new().route("/slow", get(slow)).layer(layer);

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/slow", listener.local_addr()?);
    let stop = async move { service.draining().await };
    let serving =
        tokio::spawn(axum::serve(listener, router).with_graceful_shutdown(stop).into_future());
    assert_eq!(reqwest::get(&url).await?.status(), 504);

    canceller.drain(Duration::from_secs(5));
    serving.await??;
    Ok(())
}
// ANCHOR_END: main
