//! How long a stop takes at worst, and what the orchestrator must give for it.

use std::sync::Arc;
use std::time::Duration;

use downhaul::consumer::{
    Consumer, Failure, Incoming, MemoryBroker, Message, Publisher, Subscription,
};
use downhaul::http::Router;
use downhaul::{App, BrokerLink, ConsumerWorker, Context, HttpServer, Policy};
use tokio::sync::mpsc;

async fn handle(_ctx: Context, _order: Incoming<Message>) -> Result<(), Failure> {
    Ok(())
}

fn service(grace: Duration) -> App {
    let broker = Arc::new(MemoryBroker::new());
    let publisher = Publisher::new(broker.clone());
    let orders = Consumer::new(Subscription::new("orders"), handle);
    // ANCHOR: limits
    let mut app = App::new("shop").grace(grace);
    let link = app.add("broker", BrokerLink::new(broker.clone(), publisher), []);
    let orders = app.add("orders", ConsumerWorker::new(orders, broker), [link]);
    let web = app.add("http", HttpServer::new("127.0.0.1:0", Router::new()), [orders]);

    let within = |seconds| Policy::new().stop_within(Duration::from_secs(seconds));
    app.policy(web, within(10));
    app.policy(orders, within(15));
    app.policy(link, within(3));
    // ANCHOR_END: limits
    app
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let plan = service(Duration::from_secs(30)).plan();
    println!("{plan}");
    assert_eq!(format!("{plan}\n"), text(PRINTED));

    let (_signals, receiver) = mpsc::channel(1);
    let report = service(Duration::from_secs(25)).run_with(receiver).await;
    println!("{report}");
    assert_eq!(report.to_string(), text(REFUSED).replace("\n  ", " ").trim());
}

/// What is between the lines that name a part of the listing.
fn text(listing: &str) -> String {
    let lines = listing.lines().filter(|line| !line.contains("ANCHOR"));
    lines.filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
}

const PRINTED: &str = r#"
// ANCHOR: printed
shop starts in 3 steps and stops the other way round:
   1  broker
   2  orders
   3  http
critical path of the stop: http, orders, broker
worst case: 29s of a grace of 30s
Kubernetes: terminationGracePeriodSeconds: 31
systemd:    TimeoutStopSec=31
// ANCHOR_END: printed
"#;

const REFUSED: &str = r#"
// ANCHOR: refused
shop did not start: a grace of 25s is too short: http, orders, broker may take 28s
  to stop one after another, and 1s are kept for control and telemetry; give at least
  29s with `App::grace`, or less to a component with `Policy::stop_within`
// ANCHOR_END: refused
"#;
