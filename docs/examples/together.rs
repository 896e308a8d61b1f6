//! A service of several parts, two of them its own, from start to report.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use downhaul::consumer::{
    Consumer, Failure, Incoming, Json, MemoryBroker, Publisher, Subscription,
};
use downhaul::http::{Error, Request, Router};
use downhaul::{App, BoxError, BrokerLink, Component, ConsumerWorker, Context, Control, Ended};
use downhaul::{Ending, HttpServer, LogFormat, MessageSpans, Signal, Telemetry};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::sleep;

async fn reserve(_ctx: Context, order: Incoming<Json<u32>>) -> Result<(), Failure> {
    tracing::info!(quantity = order.body.0, "reserved");
    Ok(())
}

async fn hello(_ctx: Context, req: Request) -> Result<String, Error> {
    Ok(format!("hello, {}\n", req.param::<String>("name")?))
}

// ANCHOR: component
/// Looks at the stock once a second, in the background.
struct Stocktaker {
    /// Its task takes this along, and tells by it how often it has looked.
    looks: Mutex<Option<watch::Sender<u32>>>,
    /// Closed when the task is over, also by a panic.
    seen: watch::Receiver<u32>,
}

impl Stocktaker {
    fn new() -> Self {
        let (looks, seen) = watch::channel(0);
        Self { looks: Mutex::new(Some(looks)), seen }
    }

    /// Waits until the task is over, and returns how often it has looked.
    async fn over(&self) -> u32 {
        let mut seen = self.seen.clone();
        while seen.changed().await.is_ok() {}
        *seen.borrow()
    }
}

#[async_trait]
impl Component for Stocktaker {
    /// Returns once it is ready. What goes on in the background belongs to `ctx`.
    async fn start(&self, ctx: &Context) -> Result<(), BoxError> {
        let looks = self.looks.lock().await.take().ok_or("it was started before")?;
        tokio::spawn(look(ctx.clone(), looks));
        Ok(())
    }

    /// Watches the task: nobody else would hear of its panic.
    async fn ended(&self) -> Ended {
        self.over().await;
        Ended::Failed("it looks no more".into())
    }

    /// Called when `ctx` drains. The words stand in the report.
    async fn stop(&self, _ctx: &Context) -> String {
        format!("looked {} times", self.over().await)
    }
}

async fn look(ctx: Context, looks: watch::Sender<u32>) {
    while !ctx.is_draining() {
        looks.send_modify(|looks| *looks += 1);
        tokio::select! {
            () = ctx.draining() => {}
            () = sleep(Duration::from_secs(1)) => {}
        }
    }
}
// ANCHOR_END: component

// ANCHOR: service
fn service(stocktaker: Stocktaker) -> App {
    let broker = Arc::new(MemoryBroker::new());
    let publisher = Publisher::with_observer(broker.clone(), Arc::new(MessageSpans));

    let mut app = App::new("shop")
        .grace(Duration::from_secs(30)) // what the orchestrator gives, less a margin
        .control(Control::new("127.0.0.1:0"));

    // What is needed comes first, and its handle is how others need it.
    let link = BrokerLink::new(broker.clone(), publisher.clone());
    let link = app.add("broker", link, []);

    let reserve = Consumer::new(Subscription::new("inventory").topic("order.created"), reserve);
    let inventory = app.add("inventory", ConsumerWorker::new(reserve, broker), [link]);

    let web = HttpServer::new("127.0.0.1:0", Router::new().get("/hello/{name}", hello))
        .configure(|server| server.timeout(Duration::from_secs(5)))
        .lame_duck(Duration::from_millis(100));
    app.add("http", web, [link, inventory]);

    app.add("stocktaker", stocktaker, [inventory]);
    app
}
// ANCHOR_END: service

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let telemetry = Telemetry::install("shop", LogFormat::Text)?;
    let stocktaker = Stocktaker::new();
    let mut seen = stocktaker.seen.clone();

    // ANCHOR: run
    // `app.run()` listens to the process's signals. Here they come from a channel.
    let (signals, receiver) = mpsc::channel(1);
    let running = tokio::spawn(service(stocktaker).telemetry(telemetry).run_with(receiver));
    seen.wait_for(|looks| *looks > 0).await?;
    signals.send(Signal::Terminate).await?;

    let report = running.await?;
    println!("{report}");
    assert_eq!((report.ending.clone(), report.exit_code()), (Ending::Clean, 0));
    // ANCHOR_END: run

    let mut order: Vec<_> = report.components.iter().map(|part| part.name.as_str()).collect();
    // Nothing needs these two, so they stop at the same time.
    order[..2].sort_unstable();
    assert_eq!(order, ["http", "stocktaker", "inventory", "broker"]);
    report.exit()
}
