//! The whole service, in a test.

use clap::Parser;
use downhaul::testing::TestApp;

use crate::cli::Cli;
use crate::service;

#[tokio::test]
async fn the_parts_start_and_stop_in_order() {
    let anywhere = ["orders", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"];
    let cli = Cli::parse_from(anywhere);
    let app = TestApp::start(service(&cli, &cli.settings().unwrap()).unwrap()).await;
    app.stop().await.assert_clean();
    let up = ["broker", "orders", "inventory", "doubtful", "http"];
    let started = up.iter().map(|name| format!("{name} started"));
    let stopped = up.iter().rev().map(|name| format!("{name} stopped"));
    assert_eq!(app.order(), started.chain(stopped).collect::<Vec<_>>());
}
