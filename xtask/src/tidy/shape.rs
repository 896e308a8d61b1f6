//! The shape of a file: how it begins, how long it is, how wide its lines are.

use super::{File, Violation};

const LINES: usize = 700;
const CODE: usize = 400;
const COLUMNS: usize = 100;

pub(super) fn check(file: &File) -> Vec<Violation> {
    let rules = [header, length, columns, trailing_space];
    rules.into_iter().flat_map(|rule| rule(file)).collect()
}

fn header(file: &File) -> Vec<Violation> {
    let begins = |with: &str| file.text.starts_with(with);
    if !file.is_rust() || begins("//!") || begins("#![doc = include_str!") {
        return Vec::new();
    }
    vec![file.violation(1, "no module documentation", "begin with `//!` and what this file is for")]
}

fn length(file: &File) -> Vec<Violation> {
    if !file.is_rust() {
        return Vec::new();
    }
    let advice = "split it by topic";
    let (lines, code) = (file.text.lines().count(), code_lines(&file.text));
    let mut found = Vec::new();
    if lines > LINES {
        found.push(file.violation(0, format!("{lines} lines, {LINES} are allowed"), advice));
    }
    if code > CODE {
        found.push(file.violation(0, format!("{code} lines of code, {CODE} are allowed"), advice));
    }
    found
}

/// Lines that are neither empty nor a comment, up to `mod tests`, which stands last.
fn code_lines(text: &str) -> usize {
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let counts = |line: &&str| !line.is_empty() && !line.starts_with("//");
    code.lines().map(str::trim).filter(counts).count()
}

fn columns(file: &File) -> Vec<Violation> {
    let applies = |line: &str| {
        file.is_rust() || file.path.ends_with(".toml") && line.trim_start().starts_with('#')
    };
    let too_wide = |line: &str| line.chars().count() > COLUMNS && applies(line);
    // An address cannot be broken.
    let lines = file.lines().filter(|(_, line)| too_wide(line) && !line.contains("://"));
    let rule = format!("wider than {COLUMNS} columns");
    lines.map(|(number, _)| file.violation(number, rule.clone(), "break the line")).collect()
}

fn trailing_space(file: &File) -> Vec<Violation> {
    // In Markdown two spaces at the end are a line break, and `\` says so visibly.
    let lines = file.lines().filter(|(_, line)| line.trim_end() != *line);
    lines.map(|(number, _)| file.violation(number, "space at the end", "remove it")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of the lines that break a rule.
    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&File::new(path, text)).into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_file_begins_with_what_it_is_for() {
        assert_eq!(lines("crates/x/tests/it/main.rs", "mod a;\n"), [1]);
        assert_eq!(lines("crates/x/tests/it/main.rs", "//! What.\nmod a;\n"), [0; 0]);
        let front_page = "#![doc = include_str!(\"../README.md\")]\nmod a;\n";
        assert_eq!(lines("crates/x/src/lib.rs", front_page), [0; 0]);
    }

    #[test]
    fn a_file_is_short() {
        let comments = |n| "//! What.\n".repeat(n);
        assert_eq!(lines("a.rs", &comments(700)), [0; 0]);
        assert_eq!(lines("a.rs", &comments(701)), [0]);

        let code = |n| format!("//! What.\n\n{}", "a();\n".repeat(n));
        assert_eq!(lines("a.rs", &code(400)), [0; 0]);
        assert_eq!(lines("a.rs", &code(401)), [0]);
        let tests = format!("{}\n#[cfg(test)]\nmod tests {{\n{}}}", code(400), "a();\n".repeat(9));
        assert_eq!(lines("a.rs", &tests), [0; 0]);
    }

    #[test]
    fn a_line_is_narrow() {
        let wide = "x".repeat(101);
        assert_eq!(lines("a.rs", &format!("//! What.\n// {wide}\n")), [2]);
        assert_eq!(lines("a.rs", &format!("//! What.\n// https://{wide}\n")), [0; 0]);
        assert_eq!(lines("a.toml", &format!("# {wide}\na = \"{wide}\"\n")), [1]);
        assert_eq!(lines("a.rs", &format!("//! {}", "ä".repeat(96))), [0; 0]);
    }

    #[test]
    fn no_line_ends_in_space() {
        assert_eq!(lines("a.md", "one \ntwo\nthree\t\n"), [1, 3]);
    }
}
