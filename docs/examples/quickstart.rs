//! An HTTP server and a consumer under one app: the program of the README.
//!
//! `curl -X POST 127.0.0.1:8080/greetings/Ada`, then Ctrl-C.

// ANCHOR: main
use std::sync::Arc;

use downhaul::consumer::{Consumer, Failure, Incoming, Json, MemoryBroker, Message};
use downhaul::consumer::{Outgoing, Publisher, Subscription};
use downhaul::http::{Error, Request, Router};
use downhaul::{App, BoxError, BrokerLink, ConsumerWorker, Context, HttpServer};
use downhaul::{LogFormat, ResultExt, Telemetry};

async fn post(ctx: Context, req: Request<Publisher>) -> Result<&'static str, Error> {
    let message = Message::json(&req.param::<String>("name")?).map_err(Error::internal)?;
    let greeting = Outgoing::to_topic("greetings", message);
    req.state().publish(&ctx, greeting).await.layer(&ctx, "greeting.publish")?;
    Ok("accepted\n")
}

async fn greet(_ctx: Context, name: Incoming<Json<String>>) -> Result<(), Failure> {
    tracing::info!("hello, {}", name.body.0);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut app = App::new("hello").telemetry(Telemetry::install("hello", LogFormat::Text)?);
    let broker = Arc::new(MemoryBroker::new());
    let publisher = Publisher::new(broker.clone());
    let link = app.add("broker", BrokerLink::new(broker.clone(), publisher.clone()), []);

    let greeter = Consumer::new(Subscription::new("greeter").topic("greetings"), greet);
    let greeter = app.add("greeter", ConsumerWorker::new(greeter, broker), [link]);

    let routes = Router::with_state(publisher).post("/greetings/{name}", post);
    app.add("http", HttpServer::new("127.0.0.1:8080", routes), [link, greeter]);

    let report = app.run().await;
    println!("{report}");
    report.exit()
}
// ANCHOR_END: main
