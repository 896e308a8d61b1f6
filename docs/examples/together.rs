//! A service of several parts, two of them its own, from start to report.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use downhaul::consumer::{
    Consumer, Failure, Incoming, Json, MemoryBroker, Publisher, Subscription,
};
use downhaul::http::{Error, Request, Router};
use downhaul::{App, BoxError, BrokerLink, Component, ConsumerWorker, Context, Control};
use downhaul::{Ending, HttpServer, LogFormat, MessageSpans, Signal, Telemetry};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
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
    looking: Mutex<Option<JoinHandle<u32>>>,
    /// Told at the first look.
    first: Mutex<Option<oneshot::Sender<()>>>,
}

#[async_trait]
impl Component for Stocktaker {
    /// Returns once it is ready. What goes on in the background belongs to `ctx`.
    async fn start(&self, ctx: &Context) -> Result<(), BoxError> {
        let first = self.first.lock().await.take();
        *self.looking.lock().await = Some(tokio::spawn(look(ctx.clone(), first)));
        Ok(())
    }

    /// Called when `ctx` drains. The words stand in the report.
    async fn stop(&self, _ctx: &Context) -> String {
        match self.looking.lock().await.take() {
            Some(looking) => format!("looked {} times", looking.await.unwrap_or_default()),
            None => String::new(),
        }
    }
}

async fn look(ctx: Context, mut first: Option<oneshot::Sender<()>>) -> u32 {
    let mut looks = 0;
    while !ctx.is_draining() {
        looks += 1;
        first.take().map(|first| first.send(()));
        tokio::select! {
            () = ctx.draining() => {}
            () = sleep(Duration::from_secs(1)) => {}
        }
    }
    looks
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
    let (first, looked) = oneshot::channel();
    let stocktaker = Stocktaker { looking: Mutex::default(), first: Mutex::new(Some(first)) };

    // ANCHOR: run
    // `app.run()` listens to the process's signals. Here they come from a channel.
    let (signals, receiver) = mpsc::channel(1);
    let running = tokio::spawn(service(stocktaker).telemetry(telemetry).run_with(receiver));
    looked.await?;
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
