//! [`Progress`]: how far a consumer has come in a partition, by the offsets that it has finished.
//!
//! 1. The offset to commit is that of the lowest unfinished message; if all are finished, the one
//!    behind the last. Whoever reads on from there misses nothing.
//! 2. It goes by what was delivered and does no arithmetic: offsets have gaps, where a log was
//!    compacted and where transactions end.
//! 3. Once a partition is gone, nothing is taken in any more: what is committed is final.
//! 4. What a delivery leads to is ready once the offset to commit is behind it, and is thrown away
//!    if the delivery is released. (Only with [transactions](crate::transactions) is there any.)

use std::collections::{BTreeSet, VecDeque};

use downhaul_consumer::Verdict;

use crate::ticket::distance;
use crate::transactions::Output;

/// What was delivered of a partition since it was assigned, in whatever order it is finished. `T`
/// is what has to be kept of a message in case it is released.
#[derive(Debug)]
pub(crate) struct Progress<T> {
    /// From the lowest unfinished message to the last that was delivered.
    marks: VecDeque<Mark<T>>,
    /// The place of the first of them.
    first: u64,
    /// Released ones, to be delivered again: how far they are behind the place 0.
    released: BTreeSet<u64>,
    /// Behind the last finished message that all before it are finished of, too.
    finished: Option<i64>,
    /// Of the messages before the lowest unfinished one, in their order.
    ready: Vec<Output>,
    /// How many messages those come from.
    ready_from: usize,
    is_over: bool,
}

#[derive(Debug)]
struct Mark<T> {
    offset: i64,
    state: State,
    delivery: u8,
    /// `None` once it is finished.
    kept: Option<T>,
    outputs: Vec<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Delivered,
    Released,
    Finished,
}

/// A message that is delivered again.
pub(crate) struct Again<'a, T> {
    pub(crate) place: u64,
    pub(crate) offset: i64,
    pub(crate) delivery: u8,
    pub(crate) kept: &'a T,
}

impl<T> Default for Progress<T> {
    fn default() -> Self {
        Self {
            marks: VecDeque::new(),
            first: 0,
            released: BTreeSet::new(),
            finished: None,
            ready: Vec::new(),
            ready_from: 0,
            is_over: false,
        }
    }
}

impl<T> Progress<T> {
    /// Has what is before the first message count as finished, before that is delivered.
    pub(crate) fn begin(&mut self, first: i64) {
        self.finished = Some(first);
    }

    /// Notes a message as delivered for the first time, and returns its place.
    pub(crate) fn deliver(&mut self, offset: i64, kept: T) -> u64 {
        self.marks.push_back(Mark {
            offset,
            state: State::Delivered,
            delivery: 0,
            kept: Some(kept),
            outputs: Vec::new(),
        });
        self.first + self.marks.len() as u64 - 1
    }

    /// Notes the lowest that was released as delivered again.
    pub(crate) fn deliver_again(&mut self) -> Option<Again<'_, T>> {
        let place = self.released.pop_first()?;
        let mark = self.marks.get_mut(usize::try_from(distance(self.first, place)).ok()?)?;
        mark.state = State::Delivered;
        mark.delivery = mark.delivery.wrapping_add(1);
        let (offset, delivery, kept) = (mark.offset, mark.delivery, mark.kept.as_ref()?);
        Some(Again { place, offset, delivery, kept })
    }

    /// Takes a verdict. Returns whether there was something to decide: not if the partition is
    /// gone, or it was decided before.
    pub(crate) fn settle(&mut self, place: u64, delivery: u8, verdict: Verdict) -> bool {
        let Some(mark) = self.undecided(place, delivery) else { return false };
        match verdict {
            Verdict::Ack => {
                (mark.state, mark.kept) = (State::Finished, None);
                self.advance();
            }
            Verdict::Release => {
                mark.state = State::Released;
                mark.outputs.clear();
                self.released.insert(self.first + distance(self.first, place));
            }
        }
        true
    }

    /// A delivery that can be settled.
    fn undecided(&mut self, place: u64, delivery: u8) -> Option<&mut Mark<T>> {
        let index = usize::try_from(distance(self.first, place)).ok()?;
        let mark = self.marks.get_mut(index).filter(|_| !self.is_over)?;
        (mark.state == State::Delivered && mark.delivery == delivery).then_some(mark)
    }

    /// Notes what a delivery leads to. Returns whether it can still be settled.
    pub(crate) fn keep(&mut self, place: u64, delivery: u8, output: Output) -> bool {
        let Some(mark) = self.undecided(place, delivery) else { return false };
        mark.outputs.push(output);
        true
    }

    /// Forgets what a delivery would have led to.
    pub(crate) fn retract(&mut self, place: u64, delivery: u8) {
        if let Some(mark) = self.undecided(place, delivery) {
            mark.outputs.clear();
        }
    }

    /// The offset of a delivery that can be settled.
    pub(crate) fn offset(&mut self, place: u64, delivery: u8) -> Option<i64> {
        self.undecided(place, delivery).map(|mark| mark.offset)
    }

    /// Takes out what the messages before the offset to commit lead to.
    pub(crate) fn take_ready(&mut self) -> Vec<Output> {
        self.ready_from = 0;
        std::mem::take(&mut self.ready)
    }

    /// How many messages before the offset to commit lead to what was not taken out yet.
    pub(crate) fn ready(&self) -> usize {
        self.ready_from
    }

    fn advance(&mut self) {
        while let Some(mut mark) = self.marks.pop_front_if(|mark| mark.state == State::Finished) {
            self.finished = Some(mark.offset + 1);
            self.ready_from += usize::from(!mark.outputs.is_empty());
            self.ready.append(&mut mark.outputs);
            self.first += 1;
        }
    }

    /// The offset to commit, if anything was finished.
    pub(crate) fn watermark(&self) -> Option<i64> {
        let finished = self.finished?;
        Some(self.marks.front().map_or(finished, |mark| mark.offset))
    }

    /// How many messages there are from the lowest unfinished one on.
    pub(crate) fn gap(&self) -> usize {
        self.marks.len()
    }

    /// The offset of the lowest unfinished message.
    pub(crate) fn head(&self) -> Option<i64> {
        self.marks.front().map(|mark| mark.offset)
    }

    /// How many are finished that the offset to commit does not cover: behind an unfinished
    /// message. They come again to whoever begins there.
    pub(crate) fn stranded(&self) -> usize {
        self.marks.iter().filter(|mark| mark.state == State::Finished).count()
    }

    /// How many are delivered and not decided.
    pub(crate) fn unsettled(&self) -> usize {
        self.marks.iter().filter(|mark| mark.state == State::Delivered).count()
    }

    /// Takes nothing in any more.
    pub(crate) fn end(&mut self) {
        self.is_over = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        /// With so many offsets left out before it.
        Deliver(i64),
        Settle(prop::sample::Index, Verdict),
        Again,
    }

    fn step() -> impl Strategy<Value = Step> {
        let verdict = prop_oneof![4 => Just(Verdict::Ack), 1 => Just(Verdict::Release)];
        prop_oneof![
            4 => (0_i64..3).prop_map(Step::Deliver),
            4 => (any::<prop::sample::Index>(), verdict).prop_map(|(at, v)| Step::Settle(at, v)),
            1 => Just(Step::Again),
        ]
    }

    proptest! {
        #[test]
        fn nothing_unfinished_is_ever_committed_and_all_that_is_finished_is(
            steps in prop::collection::vec(step(), 0..200),
        ) {
            let mut progress = Progress::default();
            let (mut next, mut all) = (0, Vec::new());
            let (mut out, mut released) = (Vec::new(), BTreeSet::new());
            for step in steps {
                match step {
                    Step::Deliver(left_out) => {
                        next += 1 + left_out;
                        all.push((next, false));
                        out.push((progress.deliver(next, next), 0, next));
                    }
                    Step::Settle(at, verdict) if !out.is_empty() => {
                        let (place, delivery, offset) = out.swap_remove(at.index(out.len()));
                        prop_assert!(progress.settle(place, delivery, verdict));
                        prop_assert!(!progress.settle(place, delivery, Verdict::Ack), "twice");
                        if verdict == Verdict::Release {
                            released.insert(offset);
                        } else {
                            let mut all = all.iter_mut();
                            all.find(|one| one.0 == offset).unwrap().1 = true;
                        }
                    }
                    Step::Again => {
                        let again = progress.deliver_again();
                        let again = again.map(|again| (again.place, again.delivery, *again.kept));
                        prop_assert_eq!(again.map(|again| again.2), released.pop_first());
                        out.extend(again);
                    }
                    Step::Settle(..) => {}
                }
                let finished = all.iter().take_while(|one| one.1).count();
                let behind = finished.checked_sub(1).map(|last| all[last].0 + 1);
                let expected = behind.map(|behind| all.get(finished).map_or(behind, |one| one.0));
                prop_assert_eq!(progress.watermark(), expected);
                prop_assert_eq!(progress.gap(), all.len() - finished);
                prop_assert_eq!(progress.unsettled(), out.len());
                let stranded = all.iter().skip(finished).filter(|one| one.1).count();
                prop_assert_eq!(progress.stranded(), stranded);
            }
        }
    }

    #[test]
    fn where_it_was_begun_is_committed_until_something_is_finished() {
        let mut progress = Progress::default();
        progress.begin(4);
        assert_eq!(progress.watermark(), Some(4));
        let place = progress.deliver(6, ());
        assert_eq!(progress.watermark(), Some(6));
        assert!(progress.settle(place, 0, Verdict::Ack));
        assert_eq!(progress.watermark(), Some(7));
    }

    #[test]
    fn a_verdict_on_an_earlier_delivery_does_not_count() {
        let mut progress = Progress::default();
        let place = progress.deliver(4, ());
        assert!(progress.settle(place, 0, Verdict::Release));
        assert_eq!(progress.deliver_again().map(|again| again.delivery), Some(1));
        assert!(!progress.settle(place, 0, Verdict::Ack));
        assert!(progress.settle(place, 1, Verdict::Ack));
        assert_eq!(progress.watermark(), Some(5));
    }

    #[test]
    fn nothing_is_taken_in_after_the_end() {
        let mut progress = Progress::default();
        let (first, second) = (progress.deliver(0, ()), progress.deliver(1, ()));
        assert!(progress.settle(first, 0, Verdict::Ack));
        progress.end();
        assert!(!progress.settle(second, 0, Verdict::Ack));
        assert_eq!(progress.watermark(), Some(1));
    }
}
