//! Holds `LIST.md` and the tests together: each number has its row, each row a test or a reason,
//! and each test says which rows it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const LIST: &str = include_str!("LIST.md");

/// The files of this suite, and what is in them.
const SOURCES: [(&str, &str); 18] = [
    ("after_func", include_str!("after_func.rs")),
    ("background", include_str!("background.rs")),
    ("canceled_parent", include_str!("canceled_parent.rs")),
    ("causes", include_str!("causes.rs")),
    ("deadlines", include_str!("deadlines.rs")),
    ("examples", include_str!("examples.rs")),
    ("family", include_str!("family.rs")),
    ("foreign", include_str!("foreign.rs")),
    ("grpc", include_str!("grpc.rs")),
    ("hooks", include_str!("hooks.rs")),
    ("layers", include_str!("layers.rs")),
    ("printing", include_str!("printing.rs")),
    ("races", include_str!("races.rs")),
    ("swansong", include_str!("swansong.rs")),
    ("tokio_util", include_str!("tokio_util.rs")),
    ("trio", include_str!("trio.rs")),
    ("values", include_str!("values.rs")),
    ("without_cancel", include_str!("without_cancel.rs")),
];

/// Go's, and those of tokio-util, grpc-java, Trio, Kotlin and swansong.
const NUMBERS: [(&str, usize); 6] = [("", 139), ("A", 13), ("B", 13), ("C", 9), ("D", 3), ("E", 7)];

/// A line of the table: the number, the behaviour, the tests, and what there is to say of it.
struct Row<'a> {
    number: &'a str,
    cells: [&'a str; 3],
}

impl<'a> Row<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
        let number = cells.next().filter(|number| is_number(number))?;
        let cells: Vec<_> = cells.map(str::trim).collect();
        Some(Self { number, cells: cells.try_into().expect("four cells in every row") })
    }

    /// The names in the third cell, each with the file that stands before it, if it is not here.
    fn tests(&self) -> Vec<(Option<&'a str>, &'a str)> {
        let mut file = None;
        let mut tests = Vec::new();
        for name in self.cells[1].split('`').skip(1).step_by(2) {
            match name.ends_with(".rs") {
                true => file = Some(name),
                false => tests.push((file, name)),
            }
        }
        tests
    }
}

/// `7`, `A13`.
fn is_number(text: &str) -> bool {
    let digits = text.trim_start_matches(|c: char| c.is_ascii_uppercase());
    text.len() <= digits.len() + 1 && digits.parse::<usize>().is_ok()
}

fn rows() -> Vec<Row<'static>> {
    LIST.lines().filter_map(Row::parse).collect()
}

/// The names of the tests of a file, with the first line of what is written above them.
fn tests_of(text: &str) -> Vec<(&str, &str)> {
    let lines: Vec<_> = text.lines().collect();
    let is_test = |line: &str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
    let attributes = (0..lines.len()).filter(|at| is_test(lines[*at]));
    let test = |at: usize| {
        let name = lines[at + 1].split("fn ").nth(1)?.split('(').next()?;
        let doc = lines[..at].iter().rev().take_while(|line| line.starts_with("///")).last();
        Some((name, doc.copied().unwrap_or_default()))
    };
    attributes.filter_map(test).collect()
}

/// `/// Go 9, 10, Extra A3: …`
fn numbers_of(doc: &str) -> Vec<&str> {
    let Some((numbers, _)) = doc.trim_start_matches("/// ").split_once(':') else {
        return Vec::new();
    };
    let bare = |part: &'static str| move |number: &&str| *number != part;
    numbers.split([',', ' ']).filter(bare("")).filter(bare("Go")).filter(bare("Extra")).collect()
}

/// The numbers that each test of this suite claims.
fn claims() -> BTreeMap<&'static str, Vec<&'static str>> {
    let tests: Vec<_> = SOURCES.iter().flat_map(|(_, text)| tests_of(text)).collect();
    let claims: BTreeMap<_, _> = tests.iter().map(|(name, doc)| (*name, numbers_of(doc))).collect();
    assert_eq!(claims.len(), tests.len(), "two tests have one name");
    claims
}

#[test]
fn the_list_has_every_number_once_and_in_order() {
    let all = |(letter, count): &(&'static str, usize)| {
        let letter = *letter;
        (1..=*count).map(move |number| format!("{letter}{number}"))
    };
    let expected: Vec<_> = NUMBERS.iter().flat_map(all).collect();
    let listed: Vec<_> = rows().iter().map(|row| row.number.to_owned()).collect();
    assert_eq!(listed, expected);
}

#[test]
fn every_row_names_a_test_or_says_why_there_is_none() {
    for row in rows() {
        let [behaviour, _, remark] = row.cells;
        assert!(!behaviour.is_empty(), "{} says nothing", row.number);
        let silent = row.tests().is_empty() && remark.is_empty();
        assert!(!silent, "{} has neither a test nor a reason", row.number);
    }
}

#[test]
fn rows_and_tests_name_each_other() {
    let claims = claims();
    let mut named: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in rows() {
        for (_, test) in row.tests().into_iter().filter(|(file, _)| file.is_none()) {
            assert!(claims.contains_key(test), "{} names {test}, which is no test", row.number);
            named.entry(test).or_default().push(row.number);
        }
    }
    let sorted = |numbers: &[&'static str]| numbers.iter().copied().collect::<BTreeSet<_>>();
    for (test, numbers) in &claims {
        let rows = named.get(test).map(Vec::as_slice).unwrap_or_default();
        assert_eq!(sorted(numbers), sorted(rows), "{test}: what it says, and who names it");
    }
}

/// A published crate comes without its neighbours, and so it is not looked at there.
#[test]
fn tests_of_other_suites_that_are_named_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    if !root.join("xtask").is_dir() {
        return;
    }
    for row in rows() {
        for (file, test) in row.tests() {
            let Some(file) = file else { continue };
            let text = fs::read_to_string(root.join(file)).unwrap_or_default();
            let is_there = tests_of(&text).iter().any(|(name, _)| *name == test);
            assert!(is_there, "{}: there is no {test} in {file}", row.number);
        }
    }
}

#[test]
fn every_file_of_the_suite_is_looked_through() {
    let modules = include_str!("main.rs").lines().filter_map(|line| line.strip_prefix("mod "));
    let modules: Vec<_> = modules.map(|name| name.trim_end_matches(';')).collect();
    let looked: Vec<_> = SOURCES.iter().map(|(name, _)| *name).collect();
    let others = modules.into_iter().filter(|name| !["common", "list"].contains(name));
    assert_eq!(others.collect::<Vec<_>>(), looked);
}
