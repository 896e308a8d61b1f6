//! What the sources of a library promise: cancel safety is written down, `lib.rs` only declares.

use super::{File, Violation};

pub(super) fn check(file: &File) -> Vec<Violation> {
    if !file.is_library() {
        return Vec::new();
    }
    let mut found = front_page(file);
    // A scenario of the suite is a test: nobody drops it half-way and goes on.
    if !file.path.starts_with("crates/downhaul-testkit/") {
        found.extend(cancel_safety(file));
    }
    found
}

fn cancel_safety(file: &File) -> Vec<Violation> {
    let lines: Vec<_> = file.text.lines().map(str::trim).collect();
    let public = file.lines().filter(|(_, line)| line.trim_start().starts_with("pub async fn "));
    let silent = public.filter(|(number, _)| !documents_cancel_safety(&lines[..number - 1]));
    let advice = "add `# Cancel safety` to its documentation: what is lost when it is dropped";
    silent
        .map(|(number, _)| file.violation(number, "cancel safety is not stated", advice))
        .collect()
}

/// Whether the documentation right above, among attributes, has the section.
fn documents_cancel_safety(above: &[&str]) -> bool {
    let item = |line: &&&str| !line.is_empty() && !line.ends_with(['{', '}', ';']) || is_doc(line);
    above.iter().rev().take_while(item).any(|line| *line == "/// # Cancel safety")
}

fn is_doc(line: &str) -> bool {
    line.starts_with("///")
}

/// `lib.rs` is read first: it says what there is, and the files behind it say how.
fn front_page(file: &File) -> Vec<Violation> {
    if !file.path.ends_with("/src/lib.rs") {
        return Vec::new();
    }
    let advice = "move it into a module and re-export it";
    let other = items(&file.text).into_iter().filter(|(_, item)| !declares(item));
    other
        .map(|(line, _)| file.violation(line, "lib.rs holds more than declarations", advice))
        .collect()
}

fn declares(item: &str) -> bool {
    // `#[cfg(test)] mod tests;` is one too; `mod x { … }` is code.
    let module =
        ["mod ", "pub mod ", "pub(crate) mod "].iter().any(|start| item.starts_with(start));
    item.starts_with("pub use ") || module && !item.contains('{')
}

/// The items of a file with the lines they begin at, without comments and attributes.
fn items(text: &str) -> Vec<(usize, String)> {
    let mut items = Vec::new();
    let mut item = String::new();
    let (mut begin, mut attribute) = (0, 0_isize);
    for (index, line) in text.lines().enumerate() {
        let line = line.split("//").next().unwrap_or_default().trim();
        if attribute > 0 || line.starts_with("#[") || line.starts_with("#![") {
            let brackets = |c| line.matches(c).count() as isize;
            attribute += brackets('[') - brackets(']');
            continue;
        }
        if item.is_empty() {
            begin = index + 1;
        }
        item.push_str(line);
        if line.ends_with([';', '}']) && item.matches('{').count() == item.matches('}').count() {
            // `pub use x::{` … `};` ends with its semicolon.
            items.push((begin, std::mem::take(&mut item)));
        } else if !item.is_empty() {
            item.push(' ');
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&File::new(path, text)).into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn every_public_async_fn_states_its_cancel_safety() {
        let path = "crates/x/src/a.rs";
        let stated = "/// Waits.\n///\n/// # Cancel safety\n///\n/// Safe; loses {}.\n\
                      #[must_use]\npub async fn a() {}\n";
        assert_eq!(lines(path, stated), [0; 0]);
        assert_eq!(lines(path, &format!("{stated}\n/// Waits.\npub async fn b() {{}}\n")), [10]);
        assert_eq!(lines(path, &format!("{stated}pub async fn b() {{}}\n")), [8]);
        let scenario = "crates/downhaul-testkit/src/suite/a.rs";
        assert_eq!(lines(scenario, "pub async fn a() {}\n"), [0; 0]);
        assert_eq!(lines("crates/x/tests/a.rs", "pub async fn a() {}\n"), [0; 0]);
    }

    #[test]
    fn a_front_page_only_declares() {
        let path = "crates/x/src/lib.rs";
        let good = "//! What.\n#![cfg_attr(\n    doc,\n    x\n)]\nmod a;\n\
                    #[cfg(test)]\nmod tests;\npub mod b;\n\
                    pub use crate::a::{\n    A, // first\n    B,\n};\n";
        assert_eq!(lines(path, good), [0; 0]);
        assert_eq!(lines(path, &format!("{good}\npub fn f() {{\n    g();\n}}\n")), [15]);
        assert_eq!(lines(path, "mod a {\n}\n"), [1]);
        assert_eq!(lines(path, "/// Two.\nconst A: u8 = 2;\n"), [2]);
        assert_eq!(lines("crates/x/src/a.rs", "const A: u8 = 2;\n"), [0; 0]);
    }
}
