//! System packages: installed where we may, else named together with the command.

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
    apt.args(words).stdout(std::io::stderr());
    run(&mut apt)
}
