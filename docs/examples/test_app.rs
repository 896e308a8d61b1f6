//! A whole app in a test: its order, its stop, its failures.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use downhaul::consumer::testing::FaultyBroker;
use downhaul::consumer::{Broker, Consumer, Failure, Incoming, Json, MemoryBroker, Message};
use downhaul::consumer::{Outgoing, Publisher, Subscription};
use downhaul::testing::TestApp;
use downhaul::{App, BoxError, BrokerLink, ConsumerWorker, Context, Outcome, Policy, Restart};
use downhaul::{Signal, Task};
use tokio::time::sleep;

// ANCHOR: service
async fn reserve(ctx: Context, _order: Incoming<Json<u32>>) -> Result<(), Failure> {
    ctx.run(sleep(Duration::from_secs(5))).await?;
    Ok(())
}

/// `main` runs it on RabbitMQ, and a test on memory.
fn service(broker: Arc<dyn Broker>) -> App {
    let mut app = App::new("shop").grace(Duration::from_secs(10));
    let publisher = Publisher::new(broker.clone());
    let link = app.add("broker", BrokerLink::new(broker.clone(), publisher), []);
    let reserve = Consumer::new(Subscription::new("inventory").topic("order.created"), reserve);
    app.add("inventory", ConsumerWorker::new(reserve, broker), [link]);
    app
}
// ANCHOR_END: service

async fn order(broker: &Arc<MemoryBroker>) -> Result<(), BoxError> {
    let order = Outgoing::to_topic("order.created", Message::json(&3)?);
    Ok(Publisher::new(broker.clone()).publish(&Context::background(), order).await?)
}

// ANCHOR: order
// In a test this is `#[tokio::test(start_paused = true)]`.
async fn the_service_starts_and_stops_in_order() {
    let app = TestApp::start(service(Arc::new(MemoryBroker::new()))).await;
    assert_eq!(app.order(), ["broker started", "inventory started"]);

    let report = app.stop().await;
    report.assert_clean();
    app.assert_order(["inventory stopped", "broker stopped"]);
}
// ANCHOR_END: order

// ANCHOR: drain
async fn what_is_begun_is_finished() -> Result<(), BoxError> {
    let broker = Arc::new(MemoryBroker::new());
    let app = TestApp::start(service(broker.clone())).await;
    order(&broker).await?;
    sleep(Duration::from_secs(1)).await;

    app.signal(Signal::Terminate);
    let report = app.ended().await;
    report.assert_clean();
    // Four of its five seconds were left, and cost no time: the clock is paused.
    assert_eq!(report.component("inventory").took.as_secs(), 4);
    assert_eq!(report.component("inventory").words, "1 message processed");
    Ok(())
}
// ANCHOR_END: drain

// ANCHOR: forced
async fn a_second_signal_gives_the_message_back() -> Result<(), BoxError> {
    let broker = Arc::new(MemoryBroker::new());
    let app = TestApp::start(service(broker.clone())).await;
    order(&broker).await?;
    sleep(Duration::from_secs(1)).await;

    app.signal(Signal::Interrupt);
    app.signal(Signal::Interrupt);
    let report = app.ended().await;
    assert_eq!(report.exit_code(), 130);
    assert_eq!(report.component("inventory").outcome, Outcome::Cancelled);
    assert_eq!(broker.depth("inventory").ready, 1);
    Ok(())
}
// ANCHOR_END: forced

// ANCHOR: failing
async fn a_service_without_its_broker_says_so() {
    let broker = FaultyBroker::over(Arc::new(MemoryBroker::new()));
    broker.faults().refuse_openings(1_000);
    let app = TestApp::spawn(service(Arc::new(broker)));
    app.ended().await.assert_failed("broker: not started within 10s");
}
// ANCHOR_END: failing

// ANCHOR: restart
async fn prices_are_fetched_again_after_a_failure() {
    let calls = AtomicU32::new(0);
    let refresh = Task::new(move |ctx: Context| {
        let first = calls.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if first {
                return Err(io::Error::other("the other side hung up"));
            }
            ctx.draining().await;
            Ok(())
        }
    });
    let mut app = App::new("shop");
    let prices = app.add("prices", refresh, []);
    app.policy(prices, Policy::new().restart(Restart::new()));

    let app = TestApp::spawn(app);
    app.until("prices started", 2).await;
    app.assert_order(["prices started", "prices failed", "prices stopped", "prices started"]);
    let events = app.events();
    let failed = events.iter().find(|event| event.error.is_some()).expect("one failed");
    assert_eq!(failed.to_string(), "prices failed: the other side hung up");
    app.stop().await.assert_clean();
}
// ANCHOR_END: restart

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), BoxError> {
    the_service_starts_and_stops_in_order().await;
    what_is_begun_is_finished().await?;
    a_second_signal_gives_the_message_back().await?;
    a_service_without_its_broker_says_so().await;
    prices_are_fetched_again_after_a_failure().await;
    Ok(())
}
