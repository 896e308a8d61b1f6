//! `cargo xtask tidy`: the rules of this codebase that neither rustfmt nor clippy knows.
//!
//! Each rule is a pure function from texts to violations. A line that must break one says why in a
//! comment on it or above it, which begins with [`EXCEPTION`].

mod api;
mod book;
mod events;
mod shape;
mod words;

use std::fmt;
use std::path::Path;

use clap::Args;

use crate::apt;
use crate::failure::Failure;
use crate::run::{command, read, root, succeeds};

/// Checks all files for headers, sizes, forbidden words, documented promises and a true book.
#[derive(Args)]
pub(crate) struct Tidy {}

/// What begins the comment that excuses a line.
const EXCEPTION: &str = "// tidy: ";

/// A file of the repository, by its path from the root.
struct File {
    path: String,
    text: String,
}

/// A place where a rule is broken. Line 0 is the whole file.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    path: String,
    line: usize,
    rule: String,
    advice: &'static str,
}

impl Tidy {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let files = files()?;
        let mut violations: Vec<_> = files.iter().flat_map(check_file).collect();
        violations.extend(book::check(&files));
        violations.iter().for_each(|violation| eprintln!("{violation}"));
        Failure::of("tidy", violations.len())
    }
}

fn check_file(file: &File) -> Vec<Violation> {
    let rules = [shape::check, words::check, api::check, events::check];
    rules.into_iter().flat_map(|rule| rule(file)).collect()
}

/// All text that git tracks or would track.
fn files() -> Result<Vec<File>, Failure> {
    if !succeeds(command("git").arg("--version")) {
        apt::install(&["git"])?;
    }
    // In a container the checkout often belongs to somebody else, and git would refuse to look.
    let list = ["-c", "safe.directory=*", "ls-files", "--cached", "--others"];
    let list = read(command("git").args(list).args(["--exclude-standard", "-z"]))?;
    let mut paths: Vec<_> = list.split_terminator('\0').map(str::to_owned).collect();
    paths.dedup();
    // What is deleted but not staged cannot be read, and what is no text has no lines.
    let text = |path: &String| std::fs::read_to_string(root().join(path)).ok();
    Ok(paths.into_iter().filter_map(|path| Some(File { text: text(&path)?, path })).collect())
}

impl File {
    fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }

    /// Code that only tests run: `tests/…` and `crates/x/tests/…`.
    fn is_test(&self) -> bool {
        let mut parts = self.path.split('/');
        match parts.next() {
            Some("crates") => parts.nth(1) == Some("tests"),
            first => first == Some("tests"),
        }
    }

    /// A source file of a published crate.
    fn is_library(&self) -> bool {
        let parts: Vec<_> = self.path.split('/').collect();
        self.is_rust() && parts[0] == "crates" && parts.get(2) == Some(&"src")
    }

    fn violation(&self, line: usize, rule: impl Into<String>, advice: &'static str) -> Violation {
        Violation { path: self.path.clone(), line, rule: rule.into(), advice }
    }

    /// Lines with their numbers, without those that are excused.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut excused = false;
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.filter(move |(_, line)| {
            let marked = line.contains(EXCEPTION);
            let skip = marked || excused;
            // A comment of its own excuses the next line, at the end of a line that line.
            excused = marked && line.trim_start().starts_with("//");
            !skip
        })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, rule, advice } = self;
        match line {
            0 => write!(f, "{path}: {rule}; {advice}"),
            line => write!(f, "{path}:{line}: {rule}; {advice}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl File {
        pub(super) fn new(path: &str, text: &str) -> Self {
            Self { path: path.to_owned(), text: text.to_owned() }
        }
    }

    #[test]
    fn a_violation_names_the_place_the_rule_and_what_to_do() {
        let violation = File::new("a/b.rs", "").violation(7, "too long", "cut it");
        assert_eq!(violation.to_string(), "a/b.rs:7: too long; cut it");
    }

    #[test]
    fn an_exception_with_a_reason_excuses_its_line_or_the_next() {
        let file = File::new("a.rs", "a\nb // tidy: because\nc\n// tidy: because\nd\ne");
        assert_eq!(file.lines().map(|(_, line)| line).collect::<String>(), "ace");
    }

    #[test]
    fn tests_are_told_from_libraries_by_their_path() {
        assert!(File::new("crates/x/tests/it/main.rs", "").is_test());
        assert!(File::new("tests/main.rs", "").is_test());
        assert!(!File::new("crates/tests/src/lib.rs", "").is_test());
        assert!(File::new("crates/x/src/lib.rs", "").is_library());
        assert!(!File::new("xtask/src/main.rs", "").is_library());
    }
}
