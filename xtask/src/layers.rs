//! `cargo xtask layers`: who may depend on whom.
//!
//! It reads declared dependencies, optional ones included, so no choice of features hides one.

use clap::Args;
use serde_json::Value;

use crate::failure::Failure;
use crate::run::{cargo, read};

/// Checks that crates depend on each other, and on engines, only as the layers allow.
#[derive(Args)]
pub(crate) struct Layers {}

const ANYTHING: &[&str] = &["*"];

/// A package of ours, what it may depend on, and what its tests may use besides.
#[rustfmt::skip]
const LAYERS: &[(&str, &[&str], &[&str])] = &[
    ("downhaul-context",  &[],                                         &[]),
    ("downhaul-http",     &["downhaul-context"],                       &[]),
    ("downhaul-consumer", &["downhaul-context"],                       &["downhaul-testkit"]),
    ("downhaul-rabbitmq", &["downhaul-context", "downhaul-consumer"],  &["downhaul-testkit"]),
    ("downhaul-kafka",    &["downhaul-context", "downhaul-consumer"],  &["downhaul-testkit"]),
    ("downhaul-testkit",  &["downhaul-context", "downhaul-consumer"],  &[]),
    // Its tests depend on itself, with the feature `testing`.
    ("downhaul",          &["downhaul-context", "downhaul-http", "downhaul-consumer",
                            "downhaul-rabbitmq", "downhaul-kafka"],
                          &["downhaul-testkit", "downhaul"]),
    ("downhaul-tests",    ANYTHING,                                    ANYTHING),
    ("downhaul-book",     ANYTHING,                                    ANYTHING),
    ("xtask",             ANYTHING,                                    &[]),
];

/// An engine of others and the packages that may know it; `*` at the end of a name is any ending.
/// What a package's tests use is its own business only where a second list says so.
#[rustfmt::skip]
const ENGINES: &[(&str, &[&str], &[&str])] = &[
    // `cargo xtask bench` compares the server with hyper alone.
    ("hyper",                 &["downhaul-http", "xtask"], &["downhaul"]),
    ("hyper-util",            &["downhaul-http", "xtask"], &["downhaul"]),
    // `cargo xtask bench` compares the consumer with loops on lapin alone.
    ("lapin",                 &["downhaul-rabbitmq", "xtask"], &["downhaul"]),
    // `cargo xtask bench` compares the consumer with a loop on rdkafka alone.
    ("rdkafka",               &["downhaul-kafka", "xtask"], &["downhaul"]),
    ("opentelemetry*",        &["downhaul"],          &[]),
    ("tracing-opentelemetry", &["downhaul"],          &[]),
];

impl Layers {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let metadata = ["metadata", "--no-deps", "--format-version", "1", "--locked"];
        let metadata = serde_json::from_str(&read(&mut cargo(&metadata))?)?;
        let violations = violations(&metadata);
        violations.iter().for_each(|violation| eprintln!("{violation}"));
        Failure::of("layers", violations.len())
    }
}

/// Every edge of `cargo metadata` that the tables above do not allow.
fn violations(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let names: Vec<_> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut found = Vec::new();
    for package in packages {
        let from = package["name"].as_str().unwrap_or_default();
        let Some(layer) = LAYERS.iter().find(|layer| layer.0 == from) else {
            found.push(format!("{from} has no layer: add it to the table in xtask/src/layers.rs"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let to = dependency["name"].as_str().unwrap_or_default();
            let for_tests = dependency["kind"] == "dev";
            let ours = names.contains(&to) || LAYERS.iter().any(|layer| layer.0 == to);
            let allowed =
                if ours { may(layer, to, for_tests) } else { knows(layer, to, for_tests) };
            if !allowed {
                let kind = if for_tests { "dev-depends" } else { "depends" };
                found.push(format!(
                    "{from} {kind} on {to}, which its layer must not know: move what needs it, or \
                     change the table in xtask/src/layers.rs and say why"
                ));
            }
        }
    }
    found
}

fn may((_, may, tests_may): &(&str, &[&str], &[&str]), to: &str, for_tests: bool) -> bool {
    matches(may, to) || for_tests && matches(tests_may, to)
}

fn knows(layer: &(&str, &[&str], &[&str]), to: &str, for_tests: bool) -> bool {
    let Some((_, owners, tests_of)) = ENGINES.iter().find(|engine| matches(&[engine.0], to)) else {
        return true;
    };
    // Nothing is built on it, hence no layer to keep clean.
    let exempt = layer.0 == "xtask" || layer.1 == ANYTHING;
    exempt || owners.contains(&layer.0) || for_tests && tests_of.contains(&layer.0)
}

fn matches(patterns: &[&str], name: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => *pattern == name,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What is found about a workspace in which `from` has one dependency.
    fn edge(from: &str, to: &str, kind: Option<&str>) -> usize {
        let dependency = json!({ "name": to, "kind": kind, "optional": true });
        let package = json!({ "name": from, "dependencies": [dependency] });
        violations(&json!({ "packages": [package] })).len()
    }

    #[test]
    fn arrows_go_down_and_never_sideways_or_up() {
        assert_eq!(edge("downhaul-http", "downhaul-context", None), 0);
        assert_eq!(edge("downhaul-http", "downhaul-consumer", None), 1);
        assert_eq!(edge("downhaul-http", "downhaul-consumer", Some("dev")), 1);
        assert_eq!(edge("downhaul-context", "downhaul", Some("build")), 1);
        assert_eq!(edge("downhaul-rabbitmq", "downhaul-kafka", None), 1);
    }

    #[test]
    fn only_tests_know_the_testkit() {
        assert_eq!(edge("downhaul-rabbitmq", "downhaul-testkit", Some("dev")), 0);
        assert_eq!(edge("downhaul-rabbitmq", "downhaul-testkit", None), 1);
    }

    #[test]
    fn each_engine_has_one_owner() {
        assert_eq!(edge("downhaul-rabbitmq", "lapin", None), 0);
        assert_eq!(edge("downhaul-consumer", "lapin", Some("dev")), 1);
        assert_eq!(edge("downhaul", "hyper", None), 1);
        assert_eq!(edge("downhaul-http", "opentelemetry_sdk", None), 1);
        assert_eq!(edge("downhaul-tests", "lapin", None), 0);
    }

    #[test]
    fn a_package_without_a_layer_is_a_violation() {
        assert_eq!(edge("downhaul-nats", "tokio", None), 1);
    }
}
