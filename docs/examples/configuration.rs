//! The settings of an app, from a file and the environment.

use downhaul::config::AppConfig;
use downhaul::http::Router;
use downhaul::testing::TestApp;
use downhaul::{App, BoxError};

const FILE: &str = r#"
# ANCHOR: file
grace = "20s"

[control]
address = "127.0.0.1:0"

[http]
address = "127.0.0.1:0"
lame_duck = "5s"
# ANCHOR_END: file
"#;

// ANCHOR: service
fn service(config: &AppConfig) -> App {
    let mut app = App::new("orders").configure(config);
    app.add("http", config.http.server(Router::new()), []);
    app
}
// ANCHOR_END: service

// ANCHOR: read
/// What the file says, and over it what the environment says.
fn settings(file: &str) -> Result<AppConfig, BoxError> {
    let config: AppConfig = toml::from_str(file)?;
    Ok(config.env("ORDERS_")?)
}
// ANCHOR_END: read

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), BoxError> {
    let vars = [("ORDERS_GRACE", "25s"), ("ORDERS_CONTROL_TOKEN", "s3cret")];
    let config = settings(FILE)?.vars("ORDERS_", vars)?;
    println!("{}", config.describe());
    assert_eq!(config.describe(), text(TABLE));

    let report = TestApp::start(service(&config)).await.stop().await;
    report.assert_clean();
    assert_eq!(report.grace.as_secs(), 25);
    assert_eq!(report.component("http").took.as_secs(), 5);

    let vars = [("ORDERS_GRACE", "25"), ("ORDERS_CONTROL_TOKN", "s3cret")];
    let error = settings(FILE)?.vars("ORDERS_", vars).expect_err("two are wrong");
    println!("{error}");
    assert_eq!(error.to_string(), text(MISTAKES));
    Ok(())
}

/// What is between the lines that name a part of the listing.
fn text(listing: &str) -> String {
    let lines = listing.lines().filter(|line| !line.contains("ANCHOR") && !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

const TABLE: &str = r#"
// ANCHOR: table
setting          value        default         from
grace            25s          30s             ORDERS_GRACE
start_within     10s          10s             default
log              text         text            default
control.address  127.0.0.1:0  -               file
control.token    <redacted>   -               ORDERS_CONTROL_TOKEN
http.address     127.0.0.1:0  127.0.0.1:8080  file
http.timeout     30s          30s             default
http.lame_duck   5s           250ms           file
// ANCHOR_END: table
"#;

const MISTAKES: &str = r#"
// ANCHOR: mistakes
unknown setting `ORDERS_CONTROL_TOKN`: the nearest known one is `ORDERS_CONTROL_TOKEN`
`ORDERS_GRACE` is `25`: want a duration such as `30s` or `250ms`
// ANCHOR_END: mistakes
"#;
