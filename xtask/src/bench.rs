//! `cargo xtask bench`: ours against the neighbour's, in one process and one run.

use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;
use crate::run::{cargo, run};

/// Measures ours against its peer and prints ratios; fails if one misses its target.
#[derive(Args)]
pub(crate) struct Bench {
    /// Only these areas (`context`); all without one.
    areas: Vec<String>,
    /// Also writes the rows to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Bench {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let scope = ["run", "--quiet", "--profile", "bench", "--locked", "--package", "xtask"];
        let mut bench = cargo(&scope);
        bench.args(["--features", "bench", "--bin", "bench", "--"]).args(&self.areas);
        if let Some(file) = &self.json {
            bench.arg("--json").arg(std::path::absolute(file)?);
        }
        run(&mut bench)
    }
}
