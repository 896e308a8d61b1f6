//! [`Lanes`]: the partitions that a source reads, each in its turn, and each found by its number.

use std::collections::HashMap;

use downhaul_consumer::Lane;

use crate::source::lane::LaneReader;

#[derive(Default)]
pub(super) struct Lanes {
    readers: Vec<LaneReader>,
    /// Where in it each is. Verdicts come far more often than partitions come and go.
    places: HashMap<Lane, usize>,
    /// Whose turn it is to be read.
    turn: usize,
}

impl Lanes {
    pub(super) fn add(&mut self, reader: LaneReader) {
        self.places.insert(reader.tenure.lane, self.readers.len());
        self.readers.push(reader);
    }

    /// Takes lanes out. Returns how many of their messages were delivered and not decided.
    pub(super) fn remove(&mut self, gone: &[Lane]) -> usize {
        let is_gone = |reader: &mut LaneReader| gone.contains(&reader.tenure.lane);
        let gone = self.readers.extract_if(.., is_gone);
        let unsettled = gone.map(|reader| reader.tenure.progress().unsettled()).sum();
        let lanes = self.readers.iter().enumerate();
        self.places = lanes.map(|(place, reader)| (reader.tenure.lane, place)).collect();
        unsettled
    }

    pub(super) fn clear(&mut self) {
        self.readers.clear();
        self.places.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.readers.len()
    }

    pub(super) fn get(&mut self, lane: Lane) -> Option<&mut LaneReader> {
        self.readers.get_mut(*self.places.get(&lane)?)
    }

    /// The next to be read.
    pub(super) fn next(&mut self) -> Option<&mut LaneReader> {
        let turn = self.turn.checked_rem(self.readers.len())?;
        self.turn = turn + 1;
        self.readers.get_mut(turn)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &LaneReader> {
        self.readers.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut LaneReader> {
        self.readers.iter_mut()
    }
}
