//! [`Tally`]: how many tests ran, and how they ended.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::failure::Failure;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) ignored: usize,
    /// What the test binaries say of their failures, line by line.
    failures: Vec<String>,
    /// Whether such lines are being read.
    failing: bool,
}

impl Tally {
    /// Runs tests, shows what they print and counts them. What failed is shown once more at the
    /// end: a long log is often kept without its middle.
    pub(crate) fn of(tests: &mut Command) -> Result<Self, Failure> {
        let mut child = tests.stdout(Stdio::piped()).spawn()?;
        let mut tally = Self::default();
        let lines =
            child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).split(b'\n'));
        for line in lines {
            let line = String::from_utf8_lossy(&line?).into_owned();
            tally.read(&line);
            println!("{line}");
        }
        // A binary that does not build, or that crashes, has no result line.
        if !child.wait()?.success() {
            tally.failed = tally.failed.max(1);
        }
        if !tally.failures.is_empty() {
            println!("==> once more, what failed:\n{}", tally.failures.join("\n"));
        }
        Ok(tally)
    }

    /// How many passed, of those that a proof must have: where none ran, nothing is proved.
    pub(crate) fn proof(name: &str, tests: &mut Command) -> Result<usize, Failure> {
        let tally = Self::of(tests)?;
        Failure::of(name, tally.failed)?;
        match tally.passed {
            0 => Err(Failure::new(format!("{name}: nothing ran, so nothing is proved"))),
            passed => Ok(passed),
        }
    }

    /// Counts a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`, and keeps what
    /// stands between `failures:` and such a line, but for backtraces: they hide what failed.
    fn read(&mut self, line: &str) {
        let ends = line.contains("test result: ");
        self.failing = !ends && (self.failing || line == "failures:");
        if self.failing && line != "failures:" && !is_of_a_backtrace(line) {
            self.failures.push(line.to_owned());
        }
        if !ends {
            return;
        }
        self.passed += count(line, "passed");
        self.failed += count(line, "failed");
        self.ignored += count(line, "ignored");
    }
}

/// Whether it is a frame, such as `  14: name::of_a_function`, or the place of one.
fn is_of_a_backtrace(line: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = line.trim_start();
    let is_frame = || text.split_once(": ").is_some_and(|(number, _)| is_number(number));
    text != line && (text.starts_with("at ") || is_frame())
}

fn count(line: &str, what: &str) -> usize {
    let mut parts = line.split([';', '.']).map(str::trim);
    parts.find_map(|part| part.strip_suffix(what)?.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A test binary that prints `text` and ends with `code`.
    fn planted(text: &str, code: u8) -> Command {
        let mut planted = Command::new("sh");
        planted.args(["-c", &format!("echo '{text}'; exit {code}")]);
        planted
    }

    fn complaint(text: &str, code: u8) -> String {
        Tally::proof("loom", &mut planted(text, code)).unwrap_err().to_string()
    }

    #[test]
    fn result_lines_are_added_up_and_other_lines_are_not() {
        let mut tally = Tally::default();
        tally.read("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out");
        tally.read("test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; in 0.01s");
        tally.read("test causes::a_test ... ok, 7 passed; 7 failed;");
        assert_eq!(tally, Tally { passed: 13, failed: 2, ignored: 1, ..Tally::default() });
    }

    #[test]
    fn what_a_failed_test_printed_is_kept() {
        let mut tally = Tally::default();
        for line in [
            "test a ... ok",
            "test b ... FAILED",
            "failures:",
            "---- b stdout ----",
            "it was not so",
            "stack backtrace:",
            "  14: name::of_a_function",
            "             at ./src/lib.rs:3:5",
            "failures:",
            "    b",
            "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured;",
            "test c ... ok",
        ] {
            tally.read(line);
        }
        assert_eq!(
            tally.failures,
            ["---- b stdout ----", "it was not so", "stack backtrace:", "    b"]
        );
    }

    #[test]
    fn a_crash_counts_as_a_failure() {
        let text = "test result: ok. 1 passed; 0 failed; 0 ignored;";
        let tally = Tally::of(&mut planted(text, 101)).unwrap();
        assert_eq!(tally, Tally { passed: 1, failed: 1, ..Tally::default() });
    }

    #[test]
    fn a_proof_in_which_nothing_ran_has_failed() {
        let none = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 16 filtered out";
        assert_eq!(complaint(none, 0), "loom: nothing ran, so nothing is proved");
        assert_eq!(complaint("", 0), "loom: nothing ran, so nothing is proved");
        let some = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 14 filtered out";
        assert_eq!(Tally::proof("loom", &mut planted(some, 0)).unwrap(), 2);
    }

    #[test]
    fn a_proof_with_a_failure_or_a_crash_has_failed() {
        let failed = "test result: FAILED. 9 passed; 1 failed; 0 ignored; 0 measured;";
        assert_eq!(complaint(failed, 101), "loom: 1 to fix, see above");
        assert_eq!(complaint("", 101), "loom: 1 to fix, see above");
    }
}
