//! A shop that takes orders over HTTP and settles them over a queue, as one service.
//!
//! `POST /orders` publishes `order.created`. The consumer `inventory` reserves stock and publishes
//! `order.confirmed` or `order.rejected`; the consumer `orders` applies these to the order. All of
//! it lives under one tree of contexts: on SIGTERM intake stops, what is begun is finished, and a
//! report says so.

mod broker;
mod cli;
mod doubtful;
mod inventory;
mod messages;
mod orders;
mod shop;
#[cfg(test)]
mod tests;
mod web;
mod words;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use downhaul::config::AppConfig;
use downhaul::{App, BoxError, Policy, Restart, Telemetry};

use crate::broker::Links;
use crate::cli::Cli;
use crate::doubtful::Doubt;
use crate::shop::Shop;
use crate::web::Web;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.settings().map_err(BoxError::from) {
        Ok(settings) if cli.config => words::say(&settings.describe()),
        Ok(settings) => run(&cli, &settings).await,
        Err(error) => words::cannot_start(error.as_ref()),
    }
}

async fn run(cli: &Cli, settings: &AppConfig) -> ExitCode {
    let app = match build(cli, settings) {
        Ok(app) => app,
        Err(error) => return words::cannot_start(error.as_ref()),
    };
    if cli.plan {
        return words::say(&app.plan());
    }
    let report = app.run().await;
    words::print(&report);
    report.exit()
}

fn build(cli: &Cli, settings: &AppConfig) -> Result<App, BoxError> {
    // First, so that the first line has a place to go.
    let telemetry = Telemetry::builder("orders").log(settings.log).metrics_page();
    let telemetry = telemetry.baggage(["tenant"]).install()?;
    Ok(service(cli, settings)?.telemetry(telemetry))
}

/// Puts the service together: what is needed first, what needs it after.
fn service(cli: &Cli, settings: &AppConfig) -> Result<App, BoxError> {
    let shop = Arc::new(Shop::new(cli.stock));
    let links = Links::to(&cli.broker)?;
    let doubt = Doubt::default();

    let mut app = App::new("orders").configure(settings);
    let broker = app.add("broker", links.component(&shop), []);
    let orders = app.add("orders", orders::worker(&shop, &links), [broker]);
    let inventory =
        app.add("inventory", inventory::worker(&shop, &links, cli.work()), [broker, orders]);
    let doubtful = app.add("doubtful", doubt.settler(&links), [broker, inventory]);
    app.policy(doubtful, Policy::new().restart(Restart::new()));
    let routes = web::routes(Web { shop, publisher: links.publisher, doubt });
    app.add("http", settings.http.server(routes), [doubtful]);
    Ok(app)
}
