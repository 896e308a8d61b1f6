//! How to test what one has written: a handler on the memory broker, and a whole app.

use std::sync::Arc;
use std::time::Duration;

use downhaul::consumer::{Consumer, Failure, Incoming, Json, MemoryBroker, Message, Outgoing};
use downhaul::consumer::{Publisher, RetryPolicy, Subscription};
use downhaul::http::{Error, Request, Router};
use downhaul::testing::TestApp;
use downhaul::{App, BoxError, Context, HttpServer};
use tokio::time::{Instant, sleep};

async fn reserve(ctx: Context, order: Incoming<Json<u32>>) -> Result<(), Failure> {
    if order.attempt() < 3 {
        return Err(std::io::Error::other("the stock is being counted").into());
    }
    ctx.run(sleep(Duration::from_secs(1))).await?;
    Ok(())
}

async fn hello(_ctx: Context, req: Request) -> Result<String, Error> {
    Ok(format!("hello, {}", req.param::<String>("name")?))
}

// ANCHOR: handler
// In a test this is `#[tokio::test(start_paused = true)]`.
async fn a_failing_order_is_tried_again_and_reserved() -> Result<(), BoxError> {
    let broker = Arc::new(MemoryBroker::new());
    let (service, _canceller) = Context::root();
    let retry = RetryPolicy::default().backoff(Duration::from_secs(10), Duration::from_secs(60));
    let inventory = Consumer::new(Subscription::new("inventory").topic("order.created"), reserve)
        .retry(retry)
        .spawn(&service, broker.clone());
    inventory.settled().await;

    let order = Outgoing::to_topic("order.created", Message::json(&3)?);
    Publisher::new(broker.clone()).publish(&service, order).await?;

    // Minutes pass in no time: the clock is paused, and moves when everyone waits.
    let began = Instant::now();
    while inventory.tally().acked == 0 {
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(inventory.tally().retried, 2);
    assert!(began.elapsed() > Duration::from_secs(25));
    assert_eq!(broker.depth("inventory.dead").ready, 0);
    Ok(())
}
// ANCHOR_END: handler

// ANCHOR: link
async fn a_broker_that_restarts_costs_no_message() -> Result<(), BoxError> {
    let broker = Arc::new(MemoryBroker::new());
    let (service, _canceller) = Context::root();
    let inventory = Consumer::new(Subscription::new("inventory").topic("order.created"), reserve)
        .spawn(&service, broker.clone());
    inventory.settled().await;

    let order = Outgoing::to_topic("order.created", Message::json(&3)?);
    Publisher::new(broker.clone()).publish(&service, order).await?;
    broker.cut(); // every link, as a restart does

    while inventory.tally().acked == 0 {
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
// ANCHOR_END: link

// ANCHOR: app
async fn the_service_stops_cleanly() {
    let mut app = App::new("hello");
    app.add("http", HttpServer::new("127.0.0.1:0", Router::new().get("/{name}", hello)), []);

    let app = TestApp::start(app).await;
    app.stop().await.assert_clean();
}
// ANCHOR_END: app

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), BoxError> {
    a_failing_order_is_tried_again_and_reserved().await?;
    a_broker_that_restarts_costs_no_message().await?;
    the_service_stops_cleanly().await;
    Ok(())
}
