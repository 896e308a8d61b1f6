//! `cargo xtask test`: all tests, and a line that says how many there were.

use std::collections::BTreeSet;

use clap::Args;

use crate::broker;
use crate::failure::Failure;
use crate::run::{cargo, target};
use crate::tally::Tally;

/// Runs all tests of the workspace, doc tests and tests on a real RabbitMQ included.
///
/// RabbitMQ is installed if it is missing, and each test binary starts a private node. With
/// DOWNHAUL_AMQP_URL set, nothing is installed, and tests that do not kill their broker use that
/// one.
#[derive(Args)]
pub(crate) struct Test {
    /// Only tests whose name contains one of these.
    names: Vec<String>,
}

impl Test {
    pub(crate) fn all() -> Self {
        Self { names: Vec::new() }
    }

    pub(crate) fn run(&self) -> Result<(), Failure> {
        if std::env::var_os("DOWNHAUL_AMQP_URL").is_none() {
            broker::ensure_rabbitmq()?;
        }
        let ledger = target().join("rabbitmq-ledger");
        let _ = std::fs::remove_file(&ledger);
        let scope = ["test", "--workspace", "--all-features", "--locked", "--no-fail-fast", "--"];
        let mut tests = cargo(&scope);
        tests.args(&self.names).env("DOWNHAUL_RABBITMQ_LEDGER", &ledger);
        let tally = Tally::of(&mut tests)?;

        let met = std::fs::read_to_string(&ledger).unwrap_or_default();
        let met = met.lines().collect::<BTreeSet<_>>().len();
        println!("{met} tests ran on a real RabbitMQ, {} were ignored", tally.ignored);
        println!("{} passed, {} failed", tally.passed, tally.failed);
        Failure::of("test", tally.failed)
    }
}
