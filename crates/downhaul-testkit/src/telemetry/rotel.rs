//! [`Rotel`]: a collector of OpenTelemetry that others wrote, as its authors publish it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::Receiver;
use crate::tools;

/// rotel, which `cargo xtask test` installs from PyPI.
///
/// # Examples
///
/// ```
/// use downhaul_testkit::telemetry::Rotel;
///
/// match Rotel::find() {
///     Some(_) => println!("rotel {} is there", Rotel::VERSION),
///     None => println!("SKIPPED: no rotel"),
/// }
/// ```
#[derive(Debug)]
pub struct Rotel {
    agent: PathBuf,
}

impl Rotel {
    /// The version that is installed.
    pub const VERSION: &'static str = "0.0.1a15";

    /// Where it is, or will be: `tools/rotel-…` where cargo builds.
    pub fn home() -> PathBuf {
        tools::folder().join(format!("rotel-{}", Self::VERSION))
    }

    /// The program, if it is there and runs.
    pub fn find() -> Option<Self> {
        let pythons = fs::read_dir(Self::home().join("lib")).ok()?.filter_map(Result::ok);
        let agent = |python: fs::DirEntry| python.path().join("site-packages/rotel/rotel-agent");
        let runs = |agent: &PathBuf| {
            let mut help = Command::new(agent);
            help.arg("--help").stdout(Stdio::null()).stderr(Stdio::null());
            help.status().is_ok_and(|status| status.success())
        };
        pythons.map(agent).find(runs).map(|agent| Self { agent })
    }

    /// Starts a receiver that writes down all spans and metrics that it gets.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub fn start(&self) -> io::Result<Receiver> {
        Receiver::start(&self.agent)
    }
}
