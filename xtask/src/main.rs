//! `cargo xtask`: everything that CI runs and that a contributor types, as one program.

mod apt;
mod bench;
mod broker;
mod chaos;
mod ci;
mod deny;
mod docs;
mod failure;
mod kafka;
mod kind;
mod layers;
mod load;
mod loom;
mod miri;
mod pika;
mod probe;
mod run;
mod soak;
mod tally;
mod telemetry;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, checks and measures Downhaul. Every command runs from any folder of the workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Bench(bench::Bench),
    Broker(broker::Broker),
    Chaos(chaos::Chaos),
    Ci(ci::Ci),
    Deny(deny::Deny),
    Docs(docs::Docs),
    Layers(layers::Layers),
    Load(load::Load),
    Loom(loom::Loom),
    Miri(miri::Miri),
    Probe(probe::Probe),
    Soak(soak::Soak),
    Test(test::Test),
    Tidy(tidy::Tidy),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Bench(bench) => bench.run(),
        Command::Broker(broker) => broker.run(),
        Command::Chaos(chaos) => chaos.run(),
        Command::Ci(ci) => ci.run(),
        Command::Deny(deny) => deny.run(),
        Command::Docs(docs) => docs.run(),
        Command::Layers(layers) => layers.run(),
        Command::Load(load) => load.run(),
        Command::Loom(loom) => loom.run(),
        Command::Miri(miri) => miri.run(),
        Command::Probe(probe) => probe.run(),
        Command::Soak(soak) => soak.run(),
        Command::Test(test) => test.run(),
        Command::Tidy(tidy) => tidy.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
