//! What reads telemetry, for the tests that meet it: rotel, from PyPI, and promtool, from Debian.

use std::fs;

use downhaul_testkit::telemetry::{Promtool, Rotel};

use crate::apt;
use crate::failure::Failure;
use crate::run::run;
use crate::tools;

/// Of the wheels for CPython 3.10 to 3.13 on x86-64, and for 3.11 on ARM. pip takes no other.
const SHA256: [&str; 5] = [
    "797faed4ec003b0b1ab65fee25a18c991cb863c221f503d383425f0958aaa5fa",
    "2f4117e58410c933e0dc042a268ef738dab2e3a5d63b5831209acdac2a6ddcb7",
    "6b1a12b2d6d52ab10574cb111053402f2bc195fa55453b19294af57c0d35bece",
    "322a830deed963dd5dcc460007e917eec071c5977e51c3a06029348f39e4eec9",
    "4eb01f9e5d228e4086f63e16cf1d0fa6e92b724bde51f120932a742acec5b0ba",
];

/// Installs both unless they are there. Without Python, PyPI or Debian it says so, and their tests
/// are skipped.
pub(crate) fn ensure() {
    if let Err(failure) = ensure_rotel() {
        eprintln!("no rotel, so its tests are skipped: {failure}");
    }
    if let Err(failure) = ensure_promtool() {
        eprintln!("no promtool, so its tests are skipped: {failure}");
    }
}

fn ensure_rotel() -> Result<(), Failure> {
    let home = Rotel::home();
    let _lock = tools::lock(home.parent().unwrap_or(&home), "rotel")?;
    if Rotel::find().is_some() {
        return Ok(());
    }
    let version = Rotel::VERSION;
    eprintln!("installing rotel {version} into {}", home.display());
    let mut pip = tools::pip_install(&home)?;
    let requirements = home.join("requirements.txt");
    let hashes = SHA256.map(|hash| format!(" --hash=sha256:{hash}")).concat();
    fs::write(&requirements, format!("rotel=={version}{hashes}\n"))?;
    pip.args(["--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement"]);
    run(pip.arg(&requirements))?;
    match Rotel::find() {
        Some(_) => Ok(()),
        None => Err(Failure::new("it does not run here")),
    }
}

fn ensure_promtool() -> Result<(), Failure> {
    let home = Promtool::home();
    let _lock = tools::lock(home.parent().unwrap_or(&home), "prometheus")?;
    if Promtool::find().is_some() {
        return Ok(());
    }
    eprintln!("laying out Debian's prometheus in {}, for promtool", home.display());
    apt::unpack("prometheus", &home)
}
