//! System packages: installed where we may, else named together with the command.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::run::{command, run, succeeds};

/// Installs Debian packages. Needs root, or a `sudo` that does not ask.
pub(crate) fn install(packages: &[&str]) -> Result<(), Failure> {
    let manual = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    if !succeeds(command("apt-get").arg("--version")) {
        return Err(Failure::new(format!("missing: {}; no apt-get here", packages.join(", "))));
    }
    let Some(prefix) = privilege() else {
        return Err(Failure::new(format!("missing: {}; run `{manual}`", packages.join(", "))));
    };
    eprintln!("installing {} (`{manual}`)", packages.join(", "));
    let install = ["install", "-y", "--no-install-recommends"];
    // Fresh lists first: a bare machine has none.
    let result =
        apt_get(prefix, &["update"]).and_then(|()| apt_get(prefix, &[&install, packages].concat()));
    result.map_err(|failure| Failure::new(format!("{failure}; try `{manual}` by hand")))
}

/// Lays out the files of a Debian package in a folder, without installing it: one that brings a
/// service would start it, and this takes no privilege.
pub(crate) fn unpack(package: &str, into: &Path) -> Result<(), Failure> {
    if !succeeds(command("apt-get").arg("--version")) {
        return Err(Failure::new(format!("missing: {package}; no apt-get here")));
    }
    fs::create_dir_all(into)?;
    // A bare machine has no lists, and fresh ones take privilege.
    if let Some(prefix) = privilege() {
        apt_get(prefix, &["update"])?;
    }
    let mut download = command("apt-get");
    run(download.args(["-qq", "download", package]).current_dir(into).stdout(io::stderr()))?;
    let starts = format!("{package}_");
    let is_it = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&starts) && name.ends_with(".deb")
    };
    let files = fs::read_dir(into)?.filter_map(Result::ok).map(|file| file.path());
    match files.into_iter().find(is_it) {
        Some(file) => run(command("dpkg-deb").arg("-x").arg(file).arg(into)),
        None => Err(Failure::new(format!("apt-get downloaded no {package}"))),
    }
}

/// Installs the packages of those programs that are missing.
pub(crate) fn ensure(programs: &[(&str, &'static str)]) -> Result<(), Failure> {
    let is_missing =
        |program: &str| !succeeds(command("sh").args(["-c", "command -v \"$0\"", program]));
    let missing: Vec<_> = programs
        .iter()
        .filter(|(program, _)| is_missing(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

/// What to put before a command so that it may install.
fn privilege() -> Option<&'static [&'static str]> {
    let known: [&[&str]; 2] = [&["env"], &["sudo", "-n", "env"]];
    let is_root = |prefix: &&&[&str]| {
        let id = [&prefix[1..], &["sh", "-c", "test $(id -u) = 0"]].concat();
        succeeds(command(prefix[0]).args(id))
    };
    known.iter().find(is_root).copied()
}

fn apt_get(prefix: &[&str], args: &[&str]) -> Result<(), Failure> {
    let words =
        [&prefix[1..], &["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"], args].concat();
    let mut apt = command(prefix[0]);
    // stdout belongs to the command that needs the package.
    apt.args(words).stdout(io::stderr());
    run(&mut apt)
}
