//! A shop that takes orders over HTTP and settles them over a queue, as one service.
//!
//! `POST /orders` publishes `order.created`. The consumer `inventory` reserves stock and publishes
//! `order.confirmed` or `order.rejected`; the consumer `orders` applies these to the order. All of
//! it lives under one tree of contexts: on SIGTERM intake stops, what is begun is finished, and a
//! report says so.

mod cli;
mod doubtful;
mod inventory;
mod messages;
mod orders;
mod shop;
mod web;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use downhaul::consumer::inbox::MemoryInbox;
use downhaul::consumer::{
    Broker, BrokerError, Consumer, KillSwitch, MemoryBroker, Publisher, RetryPolicy, Subscription,
};
use downhaul::rabbitmq::RabbitMq;
use downhaul::{
    App, BrokerLink, ConsumerWorker, Control, Ending, HttpServer, MessageSpans, Telemetry,
};

use crate::cli::{BrokerUrl, Cli};
use crate::doubtful::Doubtful;
use crate::shop::{Shop, Stats};
use crate::web::Web;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let telemetry = match Telemetry::install("orders", cli.log.into()) {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(&error),
    };
    let app = match service(&cli) {
        Ok(app) => app.telemetry(telemetry),
        Err(error) => return fail(&error),
    };
    if cli.plan {
        println!("{}", app.plan());
        return ExitCode::SUCCESS;
    }
    let report = app.run().await;
    // Nobody may be there to read it, which changes nothing.
    let _ = match report.ending {
        Ending::NotStarted(_) => writeln!(io::stderr(), "{report}"),
        _ => writeln!(io::stdout(), "{report}"),
    };
    report.exit()
}

/// Puts the service together: what is needed first, what needs it after.
fn service(cli: &Cli) -> Result<App, BrokerError> {
    let shop = Arc::new(Shop::new(cli.stock));
    let (broker, memory) = broker(&cli.broker)?;
    let publisher = Publisher::with_observer(Arc::clone(&broker), Arc::new(MessageSpans));

    let app = App::new("orders").grace(cli.grace.into()).control(control(cli));
    let mut app = app.start_within(cli.broker.time_to_start());
    let accounts = Arc::clone(&shop);
    let link = BrokerLink::new(Arc::clone(&broker), publisher.clone())
        .last_words(move || account(&accounts, memory.as_ref()));
    let link = app.add("broker", link, []);

    // What was settled once is not handled again, however often it is delivered.
    let seen = Arc::new(MemoryInbox::new());
    let applied = Subscription::new("orders").topic(messages::CONFIRMED).topic(messages::REJECTED);
    let apply = Consumer::new(applied, orders::handler(Arc::clone(&shop)))
        .concurrency(8)
        .ordered()
        .dedupe(Arc::clone(&seen) as _);
    let orders = app.add("orders", ConsumerWorker::new(apply, Arc::clone(&broker)), [link]);

    let created = Subscription::new("inventory").topic(messages::CREATED);
    let reserve = inventory::handler(Arc::clone(&shop), publisher.clone(), cli.work());
    let reserve = Consumer::new(created, reserve)
        .concurrency(32)
        .ordered()
        .dedupe(seen)
        .retry(RetryPolicy::default().attempts(8))
        .kill_switch(KillSwitch::default());
    let inventory =
        app.add("inventory", ConsumerWorker::new(reserve, Arc::clone(&broker)), [link, orders]);

    let (doubtful, doubt) = Doubtful::new(publisher.clone());
    let doubtful = app.add("doubtful", doubtful, [link, inventory]);

    let web = HttpServer::new(&cli.listen, web::router(Web { shop, publisher, doubt }))
        .configure(|server| server.timeout(web::DEADLINE));
    app.add("http", web, [doubtful]);
    Ok(app)
}

/// The broker by its URL.
fn broker(url: &BrokerUrl) -> Result<(Arc<dyn Broker>, Option<MemoryBroker>), BrokerError> {
    match url {
        BrokerUrl::Memory => {
            let broker = MemoryBroker::new();
            Ok((Arc::new(broker.clone()), Some(broker)))
        }
        BrokerUrl::Amqp(url) => Ok((Arc::new(RabbitMq::new(url)?), None)),
        BrokerUrl::Kafka(address) => Ok((kafka(address)?, None)),
    }
}

/// Kafka, which is to make the topics of the shop if there are none. As many processes can share
/// the work as a topic has partitions.
#[cfg(feature = "kafka")]
fn kafka(address: &str) -> Result<Arc<dyn Broker>, BrokerError> {
    use downhaul::kafka::{Kafka, NewTopics};

    Ok(Arc::new(Kafka::new(address)?.create_topics(NewTopics::partitions(4))))
}

#[cfg(not(feature = "kafka"))]
fn kafka(_address: &str) -> Result<Arc<dyn Broker>, BrokerError> {
    use downhaul::consumer::BrokerErrorKind;

    let words = "it was built without Kafka: run it with `--features kafka`";
    Err(BrokerError::new(BrokerErrorKind::Configuration, words))
}

/// Accounts for every order that was accepted. What is pending is in a queue of the broker, or in
/// doubt, and then the report names it.
fn account(shop: &Shop, memory: Option<&MemoryBroker>) -> String {
    let Stats { pending, confirmed, rejected, .. } = shop.stats();
    let orders = format!("{confirmed} orders confirmed, {rejected} rejected, {pending} pending");
    match memory {
        None => orders,
        Some(memory) => format!("{orders}; {}", left_in(memory)),
    }
}

/// What goes with the process: a queue in memory is for trying things out.
fn left_in(memory: &MemoryBroker) -> String {
    let queues = memory.queues().into_iter().map(|queue| (memory.depth(&queue), queue));
    let left = queues.map(|(depth, queue)| (depth.ready + depth.delayed + depth.unsettled, queue));
    let left: Vec<_> = left
        .filter(|(count, _)| *count > 0)
        .map(|(count, queue)| format!("{count} in `{queue}`"))
        .collect();
    if left.is_empty() {
        return "all queues empty".to_owned();
    }
    format!("left in queues, and lost with the memory: {}", left.join(", "))
}

fn control(cli: &Cli) -> Control {
    let control = Control::new(&cli.control);
    match std::env::var("ORDERS_CONTROL_TOKEN") {
        Ok(token) => control.token(token),
        Err(_) => control,
    }
}

/// One line that says why.
fn fail(error: &dyn std::error::Error) -> ExitCode {
    let mut text = format!("orders cannot start: {error}");
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    eprintln!("{text}");
    ExitCode::FAILURE
}
