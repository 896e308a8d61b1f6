//! `cargo xtask test`: all tests, and a line that says how many there were.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use clap::Args;

use crate::broker;
use crate::failure::Failure;
use crate::run::{cargo, target};

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
        let tally = run_and_count(&mut tests)?;

        let met = std::fs::read_to_string(&ledger).unwrap_or_default();
        let met = met.lines().collect::<BTreeSet<_>>().len();
        println!("{met} tests ran on a real RabbitMQ, {} were ignored", tally.ignored);
        println!("{} passed, {} failed", tally.passed, tally.failed);
        Failure::of("test", tally.failed)
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
    ignored: usize,
}

impl Tally {
    /// Counts a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    fn read(&mut self, line: &str) {
        if !line.contains("test result: ") {
            return;
        }
        self.passed += count(line, "passed");
        self.failed += count(line, "failed");
        self.ignored += count(line, "ignored");
    }
}

fn count(line: &str, what: &str) -> usize {
    let mut parts = line.split([';', '.']).map(str::trim);
    parts.find_map(|part| part.strip_suffix(what)?.trim().parse().ok()).unwrap_or_default()
}

fn run_and_count(tests: &mut Command) -> Result<Tally, Failure> {
    let mut child = tests.stdout(Stdio::piped()).spawn()?;
    let mut tally = Tally::default();
    for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).split(b'\n')) {
        let line = String::from_utf8_lossy(&line?).into_owned();
        tally.read(&line);
        println!("{line}");
    }
    // A binary that does not build, or that crashes, has no result line.
    if !child.wait()?.success() {
        tally.failed = tally.failed.max(1);
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_added_up_and_other_lines_are_not() {
        let mut tally = Tally::default();
        tally.read("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out");
        tally.read("test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; in 0.01s");
        tally.read("test causes::a_test ... ok, 7 passed; 7 failed;");
        assert_eq!(tally, Tally { passed: 13, failed: 2, ignored: 1 });
    }

    #[test]
    fn a_crash_counts_as_a_failure() {
        let mut crash = Command::new("sh");
        crash.args(["-c", "echo 'test result: ok. 1 passed; 0 failed; 0 ignored;'; exit 101"]);
        let tally = run_and_count(&mut crash).unwrap();
        assert_eq!(tally, Tally { passed: 1, failed: 1, ignored: 0 });
    }
}
