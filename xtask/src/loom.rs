//! `cargo xtask loom`: small races in every order that their threads can take.

use clap::Args;

use crate::failure::Failure;
use crate::run::{cargo, run, target};
use crate::tally::Tally;

/// Runs the models of the cancel tree on loom, which tries the orders of their threads.
///
/// A model that has too many orders keeps to those with few preemptions: that takes less than a
/// minute in all. loom's own variables are passed on: LOOM_MAX_PREEMPTIONS sets one bound for all
/// models, LOOM_MAX_DURATION ends each after so many seconds, LOOM_LOG shows what a model does.
#[derive(Args)]
pub(crate) struct Loom {
    /// Only models whose name contains one of these.
    names: Vec<String>,
    /// Lifts the bounds. The largest models then take hours.
    #[arg(long)]
    long: bool,
}

/// What turns the cancel tree's locks and atomics into loom's.
const FLAGS: &str = "--cfg downhaul_loom";

impl Loom {
    pub(crate) fn bounded() -> Self {
        Self { names: Vec::new(), long: false }
    }

    pub(crate) fn run(&self) -> Result<(), Failure> {
        let scope = ["test", "--package", "downhaul-context", "--test", "loom", "--release"];
        let mut models = cargo(&scope);
        // In a folder of its own: other flags build everything anew.
        models.arg("--locked").arg("--target-dir").arg(target().join("loom"));
        models.env("RUSTFLAGS", FLAGS);
        if self.long {
            models.env("DOWNHAUL_LOOM_LONG", "1");
        }
        // Each model says how many orders it was run in.
        models.args(["--", "--show-output"]).args(&self.names);
        let held = Tally::proof("loom", &mut models)?;
        println!("{held} models held");
        Ok(())
    }
}

/// Lints what only loom's build compiles.
pub(crate) fn clippy() -> Result<(), Failure> {
    let scope = ["clippy", "--package", "downhaul-context", "--lib", "--test", "loom", "--locked"];
    let mut clippy = cargo(&scope);
    clippy.arg("--target-dir").arg(target().join("loom")).env("RUSTFLAGS", FLAGS);
    run(clippy.args(["--", "-D", "warnings"]))
}
