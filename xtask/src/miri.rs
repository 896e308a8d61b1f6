//! `cargo xtask miri`: the tests of the cancel tree, interpreted step by step.

use std::path::Path;
use std::process::Command;

use clap::Args;

use crate::failure::Failure;
use crate::run::{command, read, run, succeeds, target};
use crate::tally::Tally;

/// Runs the unit tests of downhaul-context under Miri.
///
/// Miri finds leaks, data races, memory orderings that are too weak, and undefined behaviour in
/// what we depend on. It is a part of a nightly toolchain: where there is one without it, this
/// command adds it. Tests that would take it too long have smaller sizes there.
#[derive(Args)]
pub(crate) struct Miri {
    /// Only tests whose name contains one of these.
    names: Vec<String>,
    /// Runs the integration tests too, and all in 16 schedules instead of one: that takes hours.
    #[arg(long)]
    long: bool,
}

const TOOLCHAIN: &str = "nightly";
const SCHEDULES: u32 = 16;

impl Miri {
    pub(crate) fn bounded() -> Self {
        Self { names: Vec::new(), long: false }
    }

    pub(crate) fn run(&self) -> Result<(), Failure> {
        ensure()?;
        let schedules = if self.long { SCHEDULES } else { 1 };
        let mut held = 0;
        for seed in 0..schedules {
            held = self.schedule(seed)?;
        }
        println!("{held} tests held under Miri, in {schedules} of its schedules");
        Ok(())
    }

    fn schedule(&self, seed: u32) -> Result<usize, Failure> {
        eprintln!("Miri's schedule {seed}");
        let scope = ["test", "--package", "downhaul-context", "--lib", "--all-features"];
        let mut tests = miri(TOOLCHAIN);
        tests.args(scope).args(self.long.then_some("--tests"));
        tests.arg("--locked").arg("--target-dir").arg(target().join("miri"));
        // The clock and the folder for proptest's findings are outside.
        let flags = format!("-Zmiri-disable-isolation -Zmiri-seed={seed}");
        // To interpret how a backtrace is made takes longer than most tests that panic.
        tests.env("MIRIFLAGS", flags).env("RUST_BACKTRACE", "0");
        Tally::proof("miri", tests.arg("--").args(&self.names))
    }
}

/// Adds Miri to the nightly toolchain, if that is on this machine and lacks it. Fails, and says how
/// to install it, where that cannot be done.
pub(crate) fn ensure() -> Result<(), Failure> {
    find(TOOLCHAIN).or_else(|_| {
        let add = ["component", "add", "--toolchain", TOOLCHAIN, "miri", "rust-src"];
        if succeeds(rustup(TOOLCHAIN).args(["rustc", "--version"])) {
            run(command("rustup").args(add))?;
        }
        find(TOOLCHAIN)
    })
}

fn find(toolchain: &str) -> Result<(), Failure> {
    let install = format!("`rustup toolchain install {toolchain} --component miri,rust-src`");
    if !succeeds(miri(toolchain).arg("--version")) {
        return Err(Failure::new(format!("there is no Miri; {install} installs it")));
    }
    // Miri builds a standard library of its own, and would ask whether it may fetch the source.
    let sysroot = read(rustup(toolchain).args(["rustc", "--print", "sysroot"]))?;
    match Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library").is_dir() {
        true => Ok(()),
        false => Err(Failure::new(format!("Miri lacks rust-src; {install} installs it"))),
    }
}

fn miri(toolchain: &str) -> Command {
    let mut miri = rustup(toolchain);
    miri.args(["cargo", "miri"]);
    miri
}

/// `cargo +nightly` would install a toolchain that is missing, and the cargo that runs us knows of
/// no other one.
fn rustup(toolchain: &str) -> Command {
    let mut rustup = command("rustup");
    rustup.args(["run", toolchain]);
    rustup
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_miri_the_command_that_installs_it_is_named() {
        let complaint = find("no-such").unwrap_err().to_string();
        let install = "rustup toolchain install no-such --component miri,rust-src";
        assert!(complaint.contains(install), "{complaint}");
    }
}
