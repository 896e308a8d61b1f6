//! An app with a component whose stop blocks its thread, and one whose thread never ends.

use std::io;

use async_trait::async_trait;
use downhaul::{App, BoxError, Component, Context, LogFormat, Task, Telemetry};

/// Blocks whatever thread stops it, for ever.
struct Blocks;

#[async_trait]
impl Component for Blocks {
    async fn start(&self, _ctx: &Context) -> Result<(), BoxError> {
        Ok(())
    }

    async fn stop(&self, _ctx: &Context) -> String {
        park()
    }
}

fn park() -> ! {
    loop {
        std::thread::park();
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let telemetry = Telemetry::install("stuck", LogFormat::Text)?;
    let mut app = App::new("stuck").telemetry(telemetry);
    app.add("stuck", Blocks, []);
    app.add("thread", Task::blocking(|_ctx| -> io::Result<()> { park() }), []);
    let report = app.run().await;
    println!("{report}");
    report.exit()
}
