//! What is seen of a service: lines, spans and metrics.

use std::net::TcpListener;
use std::time::Duration;

use downhaul::http::{Address, Error, Request, Router};
use downhaul::{App, BoxError, Context, Control, HttpServer, LogFormat, Provided, Signal};
use downhaul::{Spans, Telemetry};
use tokio::sync::mpsc;
use tokio::time::sleep;

// ANCHOR: line
async fn place(_ctx: Context, req: Request) -> Result<String, Error> {
    let order = req.param::<u32>("order")?;
    // The line bears the request id, and is an event of the request's span.
    tracing::info!(order, "placed");
    Ok(format!("placed {order}"))
}
// ANCHOR_END: line

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // The system picks a port that is free; it is given back for the app to take.
    let control = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();

    // ANCHOR: install
    let telemetry = Telemetry::builder("shop")
        .log(LogFormat::Json)
        .spans(Spans::FromEnvironment) // which is the default
        .metrics_page()
        .install()?;
    let app = App::new("shop").control(Control::new(&control)).telemetry(telemetry);
    // ANCHOR_END: install

    let mut app = app.grace(Duration::from_secs(10));
    let web = HttpServer::new("127.0.0.1:0", Router::new().get("/orders/{order}", place));
    let address = web.address();
    app.add("http", web, []);
    let (signals, receiver) = mpsc::channel(1);
    let running = tokio::spawn(app.run_with(receiver));

    let placed = reqwest::get(format!("{}/orders/7", url(&address).await)).await?;
    assert_eq!(placed.text().await?, "placed 7");

    // ANCHOR: page
    let page = reqwest::get(format!("http://{control}/metrics")).await?.text().await?;
    assert!(page.contains("http_server_request_duration_seconds_count{"));
    assert!(page.contains("http_route=\"/orders/{order}\""));
    // ANCHOR_END: page

    signals.send(Signal::Terminate).await?;
    // ANCHOR: report
    let report = running.await?;
    // What could not be exported before the end.
    assert_eq!(report.telemetry, None);
    // ANCHOR_END: report
    report.exit()
}

async fn url(address: &Provided<Address>) -> String {
    loop {
        match address.get() {
            Ok(address) => return format!("http://{address}"),
            Err(_not_yet) => sleep(Duration::from_millis(10)).await,
        }
    }
}
