//! `cargo xtask bench`: ours against the neighbour's, in one process and one run.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;
use downhaul_testkit::kafka::Kind;

use crate::failure::Failure;
use crate::run::{cargo, read, run, target};

/// Measures ours against its peer and prints ratios; fails if one misses its target.
#[derive(Args)]
pub(crate) struct Bench {
    /// Only these areas (`context`, `consumer`, `glue`, `http`, `kafka`, `rabbitmq`); all without
    /// one.
    areas: Vec<String>,
    /// Also writes the rows to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Bench {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        crate::kafka::ensure_client()?;
        if self.includes("kafka") {
            crate::kafka::ensure_one(Kind::chosen())?;
        }
        if self.includes("rabbitmq") {
            crate::broker::ensure_rabbitmq()?;
        }
        // By a program of its own: counting takes time.
        let counted = read(&mut self.program("bench-memory"))?;
        let memory = target().join("bench-memory.json");
        fs::write(&memory, counted)?;
        let mut bench = self.program("bench");
        bench.arg("--memory").arg(memory);
        if let Some(file) = &self.json {
            bench.arg("--json").arg(std::path::absolute(file)?);
        }
        run(&mut bench)
    }

    fn includes(&self, area: &str) -> bool {
        self.areas.is_empty() || self.areas.iter().any(|wanted| wanted == area)
    }

    fn program(&self, name: &str) -> Command {
        let scope = ["run", "--quiet", "--profile", "bench", "--locked", "--package", "xtask"];
        let mut program = cargo(&scope);
        program.args(["--features", "bench", "--bin", name, "--"]).args(&self.areas);
        program
    }
}
