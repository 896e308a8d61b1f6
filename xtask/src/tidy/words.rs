//! Words that do not belong into a finished file.

use super::{File, Violation};

const UNFINISHED: [&str; 5] = ["dbg!", "todo!", "unimplemented!", "FIXME", "XXX"]; // tidy: the list
const SLEEPS: [&str; 2] = ["thread::sleep", "time::sleep("]; // tidy: the list

pub(super) fn check(file: &File) -> Vec<Violation> {
    let mut found = Vec::new();
    if !file.is_rust() {
        return found;
    }
    for (number, line) in file.lines() {
        for word in UNFINISHED.into_iter().filter(|word| has_word(line, word)) {
            found.push(file.violation(number, format!("`{word}`"), "finish it or open an issue"));
        }
        let is_sleep = |word: &&str| file.is_test() && line.contains(*word);
        for word in SLEEPS.into_iter().filter(is_sleep) {
            let advice = "wait for an event, pause the clock, or say why after `// tidy: `";
            found.push(file.violation(number, format!("`{word}` in a test"), advice));
        }
    }
    found
}

/// Whether `word` stands there and not as the end of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let after = &line[at + word.len()..];
        !line[..at].ends_with(is_name) && !after.starts_with(is_name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&File::new(path, text)).len()
    }

    #[test]
    fn what_is_not_finished_is_found() {
        for word in UNFINISHED {
            assert_eq!(count("crates/x/src/a.rs", &format!("{word}(x)")), 1);
            assert_eq!(count("crates/x/src/a.rs", &format!("my_{word}(x)")), 0);
        }
    }

    #[test]
    fn tests_do_not_sleep_without_a_reason() {
        for word in SLEEPS {
            assert_eq!(count("tests/a.rs", word), 1);
            assert_eq!(count("crates/x/tests/it/a.rs", word), 1);
            assert_eq!(count("crates/x/src/a.rs", word), 0);
            assert_eq!(count("tests/a.rs", &format!("{word} // tidy: paused clock")), 0);
        }
    }
}
