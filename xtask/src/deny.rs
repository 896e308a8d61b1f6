//! `cargo xtask deny`: licences, sources, and which crate may bring in which engine.

use std::path::Path;

use clap::Args;

use crate::failure::Failure;
use crate::run::{cargo, command, root, run};
use crate::tools;

/// Checks the whole dependency tree against deny.toml with cargo-deny, offline.
#[derive(Args)]
pub(crate) struct Deny {}

impl Deny {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        // Offline from here on. A build fetches what this platform needs, the check sees them all.
        run(&mut cargo(&["fetch", "--locked", "--quiet"]))?;
        run(&mut deny(&root(), &["bans", "licenses", "sources"])?)
    }
}

/// cargo-deny on the workspace at `workspace`, with our deny.toml.
fn deny(workspace: &Path, checks: &[&str]) -> Result<std::process::Command, Failure> {
    let mut deny = command(tools::cargo_deny()?);
    deny.args(["--offline", "--all-features", "--manifest-path"]).arg(workspace.join("Cargo.toml"));
    deny.arg("--config").arg(root().join("deny.toml"));
    // The list of wrappers runs ahead of the crates.
    deny.args(["check", "--hide-inclusion-graph", "--allow", "unused-wrapper"]).args(checks);
    Ok(deny)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::run::target;

    /// A workspace of empty crates: each is a name and the name of what it depends on.
    fn plant(name: &str, crates: &[(&str, &str)]) -> std::path::PathBuf {
        let root = target().join("planted").join(name);
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("Cargo.toml"), "[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\n")
            .unwrap();
        for (name, needs) in crates {
            let source = root.join(name).join("src");
            fs::create_dir_all(&source).unwrap();
            fs::write(source.join("lib.rs"), "").unwrap();
            let needs = if needs.is_empty() {
                String::new()
            } else {
                format!("{needs} = {{ version = \"1.0.0\", path = \"../{needs}\" }}\n")
            };
            let manifest = format!(
                "[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nedition = \"2024\"\n\
                 license = \"MIT\"\n[dependencies]\n{needs}"
            );
            fs::write(source.join("../Cargo.toml"), manifest).unwrap();
        }
        root
    }

    /// What cargo-deny says about the bans of a planted workspace; `None` if it finds no fault.
    fn bans(name: &str, crates: &[(&str, &str)]) -> Option<String> {
        let output = deny(&plant(name, crates), &["bans"]).unwrap().output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        (!output.status.success()).then_some(text)
    }

    #[test]
    fn lapin_behind_its_own_crate_is_fine() {
        assert_eq!(bans("allowed", &[("lapin", ""), ("downhaul-rabbitmq", "lapin")]), None);
    }

    #[test]
    fn lapin_elsewhere_is_banned() {
        let complaint = bans("banned", &[("lapin", ""), ("downhaul-consumer", "lapin")]).unwrap();
        assert!(complaint.contains("AMQP stays behind downhaul-rabbitmq"), "{complaint}");
    }

    #[test]
    fn hyper_behind_the_glue_is_banned() {
        let complaint = bans("glue", &[("hyper", ""), ("downhaul", "hyper")]).unwrap();
        assert!(complaint.contains("HTTP stays behind downhaul-http"), "{complaint}");
    }
}
