//! A stream of events that a drain ends, and a client that goes on where it was.

use std::time::Duration;

use downhaul_context::Context;
use downhaul_http::{DrainPlan, Error, Event, Request, RouteLimits, Router, Running, Server, Sse};
use futures_util::stream::{self, Stream};
use tokio::sync::watch;

// ANCHOR: handler
/// All orders, in the order in which they came.
type Orders = watch::Sender<Vec<&'static str>>;

async fn follow(
    ctx: Context,
    req: Request<Orders>,
) -> Result<Sse<impl Stream<Item = Event>>, Error> {
    let seen: usize = req
        .last_event_id()
        .map_or(Ok(0), str::parse)
        .map_err(|_| Error::bad_request("`last-event-id` is none of ours; come back without it"))?;
    Ok(Sse::new(&ctx, from(req.state().subscribe(), seen)))
}

/// The orders after the first `seen`, and those to come.
fn from(orders: watch::Receiver<Vec<&'static str>>, seen: usize) -> impl Stream<Item = Event> {
    stream::unfold((orders, seen), async |(mut orders, seen)| {
        let order = orders.wait_for(|all| all.len() > seen).await.ok()?[seen];
        let event = Event::new(order).event("placed").id((seen + 1).to_string());
        Some((event, (orders, seen + 1)))
    })
}
// ANCHOR_END: handler

async fn serve(orders: &Orders) -> Result<Running, Box<dyn std::error::Error>> {
    // ANCHOR: route
    // It has no end of its own.
    let endless = RouteLimits::new().no_timeout();
    let router = Router::with_state(orders.clone()).get("/orders", follow).limits(endless);
    // ANCHOR_END: route
    Ok(Server::bind("127.0.0.1:0").await?.serve(Context::background(), router))
}

async fn connect(server: &Running, seen: &str) -> reqwest::Result<reqwest::Response> {
    let url = format!("http://{}/orders", server.address());
    reqwest::Client::new().get(url).header("last-event-id", seen).send().await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let orders = Orders::new(vec!["tea", "salt"]);

    // ANCHOR: drain
    let first = serve(&orders).await?;
    let mut events = connect(&first, "1").await?;
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let event = events.chunk().await?.unwrap_or_default();
    assert_eq!(event, "event: placed\nid: 2\ndata: salt\n\n");

    // The stream has no end, and yet the drain takes no time: the answer ends after a whole event.
    let plan = DrainPlan::within(Duration::from_secs(30)).without_lame_duck();
    let (report, end) = tokio::join!(first.drain(plan), events.chunk());
    assert!(report.is_clean() && report.finished == 1 && end?.is_none());

    // The client comes back elsewhere, and has missed nothing.
    orders.send_modify(|all| all.push("rice"));
    let second = serve(&orders).await?;
    let event = connect(&second, "2").await?.chunk().await?.unwrap_or_default();
    assert_eq!(event, "event: placed\nid: 3\ndata: rice\n\n");
    // ANCHOR_END: drain
    Ok(())
}
