//! What is written beside the code says the same as the code.

use std::collections::HashMap;

use super::{File, Violation};

const QUICKSTART: &str = "docs/examples/quickstart.rs";
const ARCHITECTURE: &str = "docs/src/contributing/architecture.md";
/// Names of others that are as long as those of our tests.
const FOREIGN: [&str; 3] = [
    "dead_letter_worker_publisher_confirm_timeout",
    "fail_if_no_peer_cert",
    "into_make_service_with_connect_info",
];

pub(super) fn check(files: &[File]) -> Vec<Violation> {
    let rules = [changelog, readme, examples, architecture, proofs];
    rules.into_iter().flat_map(|rule| rule(files)).collect()
}

fn find<'a>(files: &'a [File], path: &str) -> Option<&'a File> {
    files.iter().find(|file| file.path == path)
}

/// The changelog has a heading for the version of the workspace.
fn changelog(files: &[File]) -> Vec<Violation> {
    let Some(manifest) = find(files, "Cargo.toml") else { return Vec::new() };
    let package = manifest.text.split_once("[workspace.package]").map_or("", |(_, rest)| rest);
    let version = package.split("version = \"").nth(1).and_then(|rest| rest.split('"').next());
    let version = version.unwrap_or("?");
    let advice = "add `## <version>` and what has changed to CHANGELOG.md";
    let Some(log) = find(files, "CHANGELOG.md") else {
        return vec![manifest.violation(0, "there is no CHANGELOG.md", advice)];
    };
    let heading = |line: &str| line.starts_with("## ") && line.contains(version);
    match log.text.lines().any(heading) {
        true => Vec::new(),
        false => vec![log.violation(0, format!("{version} is not mentioned"), advice)],
    }
}

/// The program on the front page is the one that is compiled and run.
fn readme(files: &[File]) -> Vec<Violation> {
    let (Some(readme), Some(example)) = (find(files, "README.md"), find(files, QUICKSTART)) else {
        return Vec::new();
    };
    let advice = "README.md's first `rust` block is `ANCHOR: main` of docs/examples/quickstart.rs";
    let shown = between(&readme.text, "```rust", "```");
    let compiled = between(&example.text, "// ANCHOR: main", "// ANCHOR_END: main");
    match (shown, compiled) {
        (Some(shown), Some(compiled)) if shown.trim() == compiled.trim() => Vec::new(),
        (_, None) => vec![example.violation(0, "there is no `ANCHOR: main`", advice)],
        _ => vec![readme.violation(0, "the program differs from the compiled one", advice)],
    }
}

/// What stands between the line that begins with `start` and the one that begins with `end`.
fn between(text: &str, start: &str, end: &str) -> Option<String> {
    let mut lines = text.lines().skip_while(|line| !line.trim_start().starts_with(start)).skip(1);
    let inside: Vec<_> =
        lines.by_ref().take_while(|line| !line.trim_start().starts_with(end)).collect();
    (!inside.is_empty()).then(|| inside.join("\n"))
}

fn is_chapter(file: &File) -> bool {
    file.path.starts_with("docs/src/") && file.path.ends_with(".md")
}

/// A program that no chapter shows is a program that nobody reads.
fn examples(files: &[File]) -> Vec<Violation> {
    let book: String =
        files.iter().filter(|file| is_chapter(file)).map(|file| file.text.as_str()).collect();
    let orphan = |file: &&File| {
        let name = file.path.strip_prefix("docs/examples/").filter(|_| file.is_rust());
        name.is_some_and(|name| !book.contains(&format!("examples/{name}")))
    };
    let advice = "include it with {{#include …}}, or delete it";
    let orphans = files.iter().filter(orphan);
    orphans.map(|file| file.violation(0, "no chapter in docs/src includes it", advice)).collect()
}

/// The map of the code has every crate on it.
fn architecture(files: &[File]) -> Vec<Violation> {
    let Some(page) = find(files, ARCHITECTURE) else { return Vec::new() };
    let named = |name: &str| page.text.contains(&format!("`{name}`"));
    let crates = files
        .iter()
        .filter_map(|file| file.path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml"));
    let rule = |name| format!("`{name}` is not on the map");
    let missing = crates.filter(|name| !named(name));
    missing.map(|name| page.violation(0, rule(name), "say what it is for")).collect()
}

/// What is named as the proof of a sentence is there, and where it is said to be.
fn proofs(files: &[File]) -> Vec<Violation> {
    let mut homes: HashMap<&str, Vec<&File>> = HashMap::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        for rest in file.text.split("fn ").skip(1) {
            homes.entry(rest.split(['(', '<']).next().unwrap_or(rest)).or_default().push(file);
        }
    }
    let is_there = |name: &str| {
        let mut modules: Vec<_> = name.split("::").collect();
        let homes = modules.pop().and_then(|test| homes.get(test));
        homes.is_some_and(|homes| homes.iter().any(|home| is_in(home, &modules)))
    };
    let mut found = Vec::new();
    for file in files {
        for (number, line) in file.lines().filter(|(_, line)| is_prose(file, line)) {
            for name in line.split('`').skip(1).step_by(2).filter(|name| is_proof(name)) {
                if !is_there(name) {
                    let rule = format!("there is no test `{name}`");
                    found.push(file.violation(number, rule, "name the one that proves it"));
                }
            }
        }
    }
    found
}

/// Whether the modules are pieces of the file's path or within the file.
fn is_in(file: &File, modules: &[&str]) -> bool {
    let inside = |module: &str| file.text.contains(&format!("mod {module} {{"));
    modules.iter().all(|module| file.path.split(['/', '.']).any(|p| p == *module) || inside(module))
}

/// A line of the book, the front page or the first page of a crate.
fn is_prose(file: &File, line: &str) -> bool {
    let is_root = file.is_library() && file.path.ends_with("/src/lib.rs");
    is_chapter(file) || file.path == "README.md" || is_root && line.starts_with("//!")
}

/// Names of tests are sentences, of four words and more.
fn is_proof(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c);
    let test = name.rsplit("::").next().unwrap_or(name);
    let is_metric = name.starts_with("downhaul_");
    let is_long = test.matches('_').count() >= 3;
    name.chars().all(is_word) && is_long && !is_metric && !FOREIGN.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files.iter().map(|(path, text)| File::new(path, text)).collect();
        check(&files).into_iter().map(|violation| violation.rule).collect()
    }

    #[test]
    fn the_changelog_has_the_current_version() {
        let manifest = ("Cargo.toml", "[workspace.package]\nversion = \"0.2.0\"\n");
        assert_eq!(rules(&[manifest, ("CHANGELOG.md", "# Changes\n## 0.2.0\n")]), [""; 0]);
        assert_eq!(rules(&[manifest, ("CHANGELOG.md", "## 0.1.0\n")]), ["0.2.0 is not mentioned"]);
        assert_eq!(rules(&[manifest]), ["there is no CHANGELOG.md"]);
    }

    #[test]
    fn the_front_page_shows_the_program_that_is_compiled() {
        let chapter = ("docs/src/quickstart.md", "{{#include ../examples/quickstart.rs:main}}");
        let example = (QUICKSTART, "//! x\n// ANCHOR: main\nfn main() {}\n// ANCHOR_END: main\n");
        let same = ("README.md", "# D\n```rust,no_run\nfn main() {}\n```\n```rust\nother\n```\n");
        assert_eq!(rules(&[chapter, example, same]), [""; 0]);
        let stale = ("README.md", "```rust\nfn main() { old() }\n```\n");
        assert_eq!(rules(&[chapter, example, stale]).len(), 1);
        assert_eq!(rules(&[same]), [""; 0], "there is nothing yet to compare with");
    }

    #[test]
    fn every_example_is_shown_in_the_book() {
        let example = ("docs/examples/http.rs", "//! x\n");
        let chapter = ("docs/src/a.md", "{{#include ../examples/http.rs:a}}");
        assert_eq!(rules(&[example, chapter]), [""; 0]);
        assert_eq!(rules(&[example]), ["no chapter in docs/src includes it"]);
    }

    #[test]
    fn every_crate_is_on_the_map() {
        let krate = ("crates/downhaul-nats/Cargo.toml", "");
        assert_eq!(rules(&[krate, (ARCHITECTURE, "`downhaul-nats` is …")]), [""; 0]);
        assert_eq!(rules(&[krate, (ARCHITECTURE, "…")]), ["`downhaul-nats` is not on the map"]);
    }

    #[test]
    fn a_proof_that_is_named_is_there() {
        let test = "mod quick {\n    async fn it_works_as_said() {}\n}\n";
        let suite = ("crates/x/tests/it/order.rs", test);
        let missing = |path, name| {
            let line = format!("//! Yes (`x`, `{name}`).");
            rules(&[suite, (path, &line)]).len()
        };
        for page in ["docs/src/a.md", "README.md", "crates/x/src/lib.rs"] {
            assert_eq!(missing(page, "it_works_as_said"), 0);
            assert_eq!(missing(page, "order::quick::it_works_as_said"), 0);
            assert_eq!(missing(page, "it_works_as_told"), 1);
            assert_eq!(missing(page, "slow::it_works_as_said"), 1);
        }
        assert_eq!(missing("docs/src/a.md", "no_test"), 0);
        assert_eq!(missing("docs/notes.md", "it_works_as_told"), 0);
    }
}
