//! A server without an app: routes, limits, middleware, and a drain of one's own.

use std::time::Duration;

use downhaul_context::Context;
use downhaul_http::{
    Body, DrainPlan, Error, HeaderMap, Json, Next, OnDisconnect, Request, Response, RouteLimits,
    Router, Server, inject,
};
use tokio::fs::File;
use tokio::time::sleep;
use tokio_util::io::ReaderStream;

struct Shop {
    open: bool,
    /// Where the service is that knows what is in stock.
    stock: String,
}

// ANCHOR: handlers
async fn price(_ctx: Context, req: Request<Shop>) -> Result<Json<u64>, Error> {
    let (quantity, each): (u64, u64) = (req.param("quantity")?, 250);
    if quantity == 0 {
        return Err(Error::bad_request("want a quantity of at least 1"));
    }
    Ok(Json(quantity * each))
}

async fn slow(ctx: Context, _req: Request<Shop>) -> Result<&'static str, Error> {
    // Ends when the request does: at its deadline, with its client, or with the server.
    ctx.run(sleep(Duration::from_secs(60))).await?;
    Ok("done")
}
// ANCHOR_END: handlers

// ANCHOR: inject
async fn in_stock(ctx: Context, req: Request<Shop>) -> Result<String, Error> {
    let mut headers = HeaderMap::new();
    inject(&ctx, &mut headers, Duration::from_millis(50));
    let call = reqwest::Client::new().get(&req.state().stock).headers(headers);
    let answer = ctx.run(call.send()).await?.map_err(Error::internal)?;
    answer.text().await.map_err(Error::internal)
}
// ANCHOR_END: inject

async fn import(_ctx: Context, mut req: Request) -> Result<String, Error> {
    Ok(format!("{} bytes", req.bytes().await?.len()))
}

// ANCHOR: download
/// The prices of a year, which are too many to hold in memory.
async fn prices(_ctx: Context, _req: Request<Shop>) -> Result<Body, Error> {
    let file = File::open("prices.csv").await.map_err(Error::internal)?;
    Ok(Body::from_stream(ReaderStream::new(file)))
}
// ANCHOR_END: download

// ANCHOR: set_timeout
async fn export(ctx: Context, req: Request<Shop>) -> Result<String, Error> {
    let rows: u64 = req.param("rows")?;
    let ctx = req.set_timeout(&ctx, Duration::from_secs(1 + rows / 1_000));
    ctx.run(sleep(Duration::from_millis(300))).await?;
    Ok(format!("{rows} rows"))
}
// ANCHOR_END: set_timeout

/// What the other service answers: how long it may take, in milliseconds.
async fn left(ctx: Context, _req: Request) -> String {
    ctx.remaining().map_or(0, |left| left.as_millis()).to_string()
}

// ANCHOR: values
struct Customer(String);

async fn identify(ctx: Context, req: Request<Shop>, next: Next<Shop>) -> Response {
    let name = req.headers().get("x-customer").and_then(|name| name.to_str().ok());
    let customer = Customer(name.unwrap_or("stranger").to_owned());
    next.run(ctx.with_value(customer), req).await
}

async fn greet(ctx: Context, _req: Request<Shop>) -> Result<String, Error> {
    let customer = ctx.value::<Customer>().ok_or_else(|| Error::internal("nobody identified"))?;
    Ok(format!("hello {}", customer.0))
}
// ANCHOR_END: values

// ANCHOR: middleware
async fn only_when_open(
    ctx: Context,
    req: Request<Shop>,
    next: Next<Shop>,
) -> Result<Response, Error> {
    if !req.state().open {
        return Err(Error::unavailable("the shop is closed; come back tomorrow"));
    }
    Ok(next.run(ctx, req).await)
}
// ANCHOR_END: middleware

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let other = Server::bind("127.0.0.1:0").await?;
    let stock = format!("http://{}/left", other.address());
    let _other = other.serve(Context::background(), Router::new().get("/left", left));

    // ANCHOR: limits
    let slow = RouteLimits::new()
        .timeout(Duration::from_secs(300))
        .body_limit(1 << 30)
        .on_disconnect(OnDisconnect::Finish)
        .concurrency(4);
    let imports: Router = Router::new().post("/orders", import).limits(slow);
    // ANCHOR_END: limits

    // ANCHOR: serve
    let (ctx, _canceller) = Context::root();
    let router = Router::with_state(Shop { open: true, stock })
        .get("/price/{quantity}", price)
        .get("/stock", in_stock)
        .get("/slow", self::slow)
        .get("/greeting", greet)
        .get("/export/{rows}", export)
        .get("/prices", prices)
        .nest("/imports", imports)
        .middleware(only_when_open)
        .middleware(identify);

    let server = Server::bind("127.0.0.1:0").await?.timeout(Duration::from_millis(200));
    let server = server.max_timeout(Duration::from_secs(60));
    let running = server.serve(ctx, router);
    let url = format!("http://{}", running.address());
    // ANCHOR_END: serve

    assert_eq!(reqwest::get(format!("{url}/price/3")).await?.text().await?, "750");

    let ada = reqwest::Client::new().get(format!("{url}/greeting")).header("x-customer", "ada");
    assert_eq!(ada.send().await?.text().await?, "hello ada");

    // There is no such file here.
    assert_eq!(reqwest::get(format!("{url}/prices")).await?.status(), 500);

    // It takes longer than 200 ms.
    let export = reqwest::get(format!("{url}/export/5000")).await?;
    assert_eq!(export.text().await?, "5000 rows");

    let import = reqwest::Client::new().post(format!("{url}/imports/orders"));
    let large = import.body(vec![0; 3 << 20]).send().await?;
    assert_eq!(large.text().await?, "3145728 bytes");

    // The server grants 200 ms, and the handler keeps 50 of them.
    let left: u64 = reqwest::get(format!("{url}/stock")).await?.text().await?.parse()?;
    assert!(left <= 150, "{left}");

    // ANCHOR: errors
    let refused = reqwest::get(format!("{url}/price/0")).await?;
    assert_eq!(refused.status(), 400);
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    // {"type":"about:blank","title":"Bad Request","status":400,
    //  "detail":"want a quantity of at least 1","request_id":"01…"}
    println!("{}", refused.text().await?);

    let late = reqwest::get(format!("{url}/slow")).await?;
    assert_eq!(late.status(), 504);
    // ANCHOR_END: errors

    // ANCHOR: look
    for connection in running.connections() {
        println!("{connection}"); // 127.0.0.1:50312, HTTP/1, 0 requests, 1200 ms old
    }
    for request in running.snapshot() {
        println!("{request}, {:?} left", request.remaining);
    }
    // ANCHOR_END: look

    // ANCHOR: drain
    let plan = DrainPlan::within(Duration::from_secs(30)).without_lame_duck();
    let report = running.drain(plan).await;
    assert!(report.is_clean());
    println!("{report}"); // drained in 0 ms: 0 finished, 0 cancelled, 0 forced
    // ANCHOR_END: drain
    Ok(())
}
