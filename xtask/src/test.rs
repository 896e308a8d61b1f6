//! `cargo xtask test`: all tests, and a line that says how many there were.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::failure::Failure;
use crate::run::{cargo, target};
use crate::tally::Tally;
use crate::{broker, kafka, pika, telemetry};

/// Runs all tests of the workspace, doc tests and tests on real brokers included.
///
/// RabbitMQ and the brokers that speak Kafka's protocol are installed if they are missing, and each
/// test binary starts private ones. With DOWNHAUL_AMQP_URL or DOWNHAUL_KAFKA_BROKERS set, that one
/// is not installed, and tests that do not kill their broker use the one given. pika, a client in
/// Python, rotel, a collector, and promtool are installed if they can be.
#[derive(Args)]
pub(crate) struct Test {
    /// Only tests whose name contains one of these. `kafka` and `rabbitmq` are all tests of the
    /// crate of that broker.
    names: Vec<String>,
    /// Only the tests of these packages.
    #[arg(short, long)]
    package: Vec<String>,
    /// For Kafka, a broker that loses nothing when it is killed: nisshi, which takes a quarter of
    /// an hour to build, once.
    #[arg(long)]
    durable: bool,
    /// Also what takes minutes: a cluster of three RabbitMQ nodes, of which one is killed and one
    /// cut off.
    #[arg(long)]
    long: bool,
}

/// How many tests run at a time. Those that take long wait for brokers, on whatever machine.
const THREADS: &str = "4";

impl Test {
    pub(crate) fn all() -> Self {
        Self { names: Vec::new(), package: Vec::new(), durable: false, long: false }
    }

    pub(crate) fn run(&self) -> Result<(), Failure> {
        let chosen = kafka::chosen(self.durable)?;
        if std::env::var_os("DOWNHAUL_AMQP_URL").is_none() {
            broker::ensure_rabbitmq()?;
        }
        if std::env::var_os("DOWNHAUL_KAFKA_BROKERS").is_none() {
            kafka::ensure(chosen)?;
        }
        kafka::ensure_client()?;
        pika::ensure();
        telemetry::ensure();
        let [rabbitmq, kafka] = ["rabbitmq-ledger", "kafka-ledger"].map(fresh_ledger);
        let mut tests = self.command();
        tests.env("DOWNHAUL_RABBITMQ_LEDGER", &rabbitmq).env("DOWNHAUL_KAFKA_LEDGER", &kafka);
        tests.env("DOWNHAUL_KAFKA_KIND", chosen.name());
        if std::env::var_os("RUST_TEST_THREADS").is_none() {
            tests.env("RUST_TEST_THREADS", THREADS);
        }
        let tally = Tally::of(&mut tests)?;

        println!("{} tests ran on a real RabbitMQ", met(&rabbitmq));
        println!("{} tests ran on a real broker of Kafka's protocol", met(&kafka));
        println!(
            "{} passed, {} failed, {} were ignored",
            tally.passed, tally.failed, tally.ignored
        );
        Failure::of("test", tally.failed)?;
        if self.long { long() } else { Ok(()) }
    }

    fn command(&self) -> Command {
        let (crates, names) = split(&self.names);
        let mut tests = cargo(&["test", "--all-features", "--locked", "--no-fail-fast"]);
        let packages: Vec<_> = self.package.iter().cloned().chain(crates).collect();
        match packages.is_empty() {
            true => tests.arg("--workspace"),
            false => tests.args(packages.iter().flat_map(|name| ["--package", name])),
        };
        tests.arg("--").args(names);
        tests
    }
}

/// What is left out otherwise, as ignored tests are.
fn long() -> Result<(), Failure> {
    broker::ensure_rabbitmq()?;
    let scope = ["test", "--package", "downhaul-rabbitmq", "--test", "cluster", "--all-features"];
    let mut cluster = cargo(&scope);
    cluster.args(["--locked", "--", "--ignored", "--nocapture"]);
    Tally::proof("long", &mut cluster).map(drop)
}

/// The crates of those words that are a broker, and the other words.
fn split(words: &[String]) -> (Vec<String>, Vec<&String>) {
    let (brokers, names): (Vec<_>, Vec<_>) =
        words.iter().partition(|word| matches!(word.as_str(), "kafka" | "rabbitmq"));
    (brokers.into_iter().map(|word| format!("downhaul-{word}")).collect(), names)
}

fn fresh_ledger(name: &str) -> PathBuf {
    let ledger = target().join(name);
    let _ = std::fs::remove_file(&ledger);
    ledger
}

/// How many tests left their name in a ledger.
fn met(ledger: &Path) -> usize {
    let names = std::fs::read_to_string(ledger).unwrap_or_default();
    names.lines().collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(names: &[&str], package: &[&str]) -> String {
        let [names, package] = [names, package].map(|words| words.iter().map(|w| w.to_string()));
        let (names, package) = (names.collect(), package.collect());
        let command = Test { names, package, durable: false, long: false }.command();
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
        words.join(" ").replace("test --all-features --locked --no-fail-fast ", "")
    }

    #[test]
    fn the_name_of_a_broker_is_its_crate_and_other_names_are_of_tests() {
        assert_eq!(arguments(&[], &[]), "--workspace --");
        assert_eq!(arguments(&["draining"], &[]), "--workspace -- draining");
        assert_eq!(arguments(&["kafka"], &[]), "--package downhaul-kafka --");
        assert_eq!(arguments(&["kafka", "x"], &["y"]), "--package y --package downhaul-kafka -- x");
    }
}
