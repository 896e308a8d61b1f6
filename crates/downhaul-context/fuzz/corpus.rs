//! What libFuzzer does with a check, as far as a test of seconds can: the corpus as it is, and the
//! corpus with some bytes changed.

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};

/// How many inputs are made up for a check.
const CASES: u32 = if cfg!(miri) { 16 } else { 4_000 };

/// Runs a check over its folder below `fuzz/corpus`, and over what is made of that.
pub(crate) fn run(folder: &Path, check: fn(&[u8])) {
    let files = std::fs::read_dir(folder).unwrap();
    let mut corpus: Vec<_> =
        files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(corpus.len() > 1, "no corpus in {}", folder.display());
    corpus.iter().for_each(|bytes| check(bytes));
    // Each run begins in the same order, whatever the file system's is.
    corpus.sort_unstable();
    let mut runner =
        TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&input(corpus), |bytes| {
        check(&bytes);
        Ok(())
    });
    assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
}

/// One of the corpus with a few edits, or, one time in eight, any bytes.
fn input(corpus: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let known = corpus.clone();
    let edits = proptest::collection::vec(edit(), 0..6);
    let edited = (select(corpus), edits).prop_map(move |(mut bytes, edits)| {
        edits.into_iter().for_each(|edit| edit.apply(&mut bytes, &known));
        bytes
    });
    prop_oneof![7 => edited, 1 => proptest::collection::vec(any::<u8>(), 0..200)]
}

/// A change at some place of an input.
#[derive(Clone, Debug)]
enum Edit {
    Replace(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    /// Puts another one behind what stands before the place.
    Join(Index, Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let byte =
        || prop_oneof![any::<u8>(), 0x20_u8..0x7f, select(b"\0\r\n\t :,;-%{}[]@#/0".as_slice())];
    prop_oneof![
        3 => (any::<Index>(), byte()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        3 => (any::<Index>(), byte()).prop_map(|(at, byte)| Edit::Insert(at, byte)),
        2 => any::<Index>().prop_map(Edit::Remove),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(at, other)| Edit::Join(at, other)),
    ]
}

impl Edit {
    fn apply(self, bytes: &mut Vec<u8>, known: &[Vec<u8>]) {
        let place = |at: Index| at.index(bytes.len() + 1);
        match self {
            Self::Insert(at, byte) => bytes.insert(place(at), byte),
            Self::Join(at, other) => {
                bytes.truncate(place(at));
                bytes.extend(other.get(known));
            }
            // There is nothing to change in nothing.
            _ if bytes.is_empty() => {}
            Self::Replace(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            Self::Remove(at) => drop(bytes.remove(at.index(bytes.len()))),
        }
    }
}
