//! What both sides of a case allocate: counted by one program, read by the other.

use serde_json::{Value, json};

use crate::case::Case;
use crate::samples::{Sample, Samples};

/// An operation's memory. Absent where it was not counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) ours: Option<Sample>,
    pub(crate) peer: Option<Sample>,
}

impl Memory {
    /// One entry of the list that [`find`](Self::find) looks through.
    pub(crate) fn entry(area: &str, case: &Case, counted: &Samples) -> Value {
        let side = |samples: &[Sample]| {
            samples.first().map(|sample| json!([sample.allocations, sample.bytes, sample.live]))
        };
        let (ours, peer) = (side(&counted.ours), side(&counted.peer));
        json!({ "key": key(area, case), "ours": ours, "peer": peer })
    }

    pub(crate) fn find(entries: &Value, area: &str, case: &Case) -> Self {
        let mut entries = entries.as_array().into_iter().flatten();
        let Some(entry) = entries.find(|entry| entry["key"] == key(area, case)) else {
            return Self::default();
        };
        let side = |side: &Value| {
            let (allocations, bytes) = (side[0].as_f64()?, side[1].as_f64()?);
            let live = side[2].as_f64()?;
            Some(Sample { allocations, bytes, live, ..Sample::default() })
        };
        Self { ours: side(&entry["ours"]), peer: side(&entry["peer"]) }
    }
}

fn key(area: &str, case: &Case) -> Value {
    json!([area, case.name, case.peer.tag])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::{GO, TOKEN};

    #[test]
    fn what_was_counted_is_found_by_its_case() {
        let case = |peer| Case::ratio("c", peer, 1.0, |_| unreachable!("not measured"));
        let sample = |allocations| Sample { allocations, ..Sample::default() };
        let counted = Samples { ours: vec![sample(1.0)], peer: vec![] };
        let entries = json!([Memory::entry("a", &case(GO), &counted)]);
        let found = Memory::find(&entries, "a", &case(GO));
        assert_eq!(found.ours.unwrap().allocations, 1.0);
        assert!(found.peer.is_none());
        assert!(Memory::find(&entries, "a", &case(TOKEN)).ours.is_none());
        assert!(Memory::find(&entries, "b", &case(GO)).ours.is_none());
    }
}
