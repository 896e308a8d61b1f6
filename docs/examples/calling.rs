//! Calls to another service as part of the request that makes them.

use std::time::Duration;

use downhaul_context::{Context, RequestId};
use downhaul_http::{Body, CallLayer, Calls, Error, Request, Router, Server};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tower::{Layer, ServiceExt};

// ANCHOR: layer
type Stock = Calls<Client<HttpConnector, Body>>;

fn stock_client() -> Stock {
    let client = Client::builder(TokioExecutor::new()).build_http();
    CallLayer::new(Duration::from_millis(50)).layer(client)
}
// ANCHOR_END: layer

struct Shop {
    stock: Stock,
    /// Where the service is that knows what is in stock.
    url: String,
}

// ANCHOR: handler
async fn in_stock(ctx: Context, req: Request<Shop>) -> Result<String, Error> {
    let Shop { stock, url } = req.state();
    let call = http::Request::get(url).extension(ctx).body(Body::empty());
    // Ends when `ctx` does, and the other side sees its client leave.
    let answer = stock.clone().oneshot(call.map_err(Error::internal)?).await?;
    let text = answer.into_body().collect().await?.to_bytes();
    String::from_utf8(text.to_vec()).map_err(Error::internal)
}
// ANCHOR_END: handler

/// What the other service answers: for whom it works, and how long it may, in milliseconds.
async fn left(ctx: Context, _req: Request) -> String {
    let id = ctx.value::<RequestId>().map(ToString::to_string).unwrap_or_default();
    format!("{id} {}", ctx.remaining().map_or(0, |left| left.as_millis()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let other = Server::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/left", other.address());
    let _other = other.serve(Context::background(), Router::new().get("/left", left));

    let router = Router::with_state(Shop { stock: stock_client(), url }).get("/stock", in_stock);
    let server = Server::bind("127.0.0.1:0").await?.timeout(Duration::from_secs(2));
    let running = server.serve(Context::background(), router);

    let answer = reqwest::get(format!("http://{}/stock", running.address())).await?;
    let id = answer.headers()["x-request-id"].to_str()?.to_owned();
    let told = answer.text().await?;
    let (for_whom, left) = told.split_once(' ').ok_or("two words")?;
    assert_eq!(for_whom, id);
    assert!(left.parse::<u64>()? <= 1_950, "{left}");
    Ok(())
}
