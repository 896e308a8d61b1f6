//! [`Progress`]: how far one holder of a partition has come, by the offsets that it has finished.

use std::collections::{BTreeSet, VecDeque};

use crate::broker::Verdict;

/// What was read of a partition since it was assigned, in whatever order it is finished.
///
/// An offset is committed when it and all before it are acknowledged, so that whoever reads on from
/// there misses nothing. What is acknowledged beyond the lowest unfinished one is kept here, and
/// forgotten with the tenure: the next holder gets it again.
#[derive(Debug)]
pub(super) struct Progress {
    /// The lowest offset that is not acknowledged.
    committed: u64,
    /// What has become of the offsets from there to the next to be read for the first time.
    marks: VecDeque<Mark>,
    /// Those that were released, to be read again.
    released: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Delivered,
    Released,
    Acknowledged,
}

impl Progress {
    /// Begins at an offset that was committed before.
    pub(super) fn from(committed: u64) -> Self {
        Self { committed, marks: VecDeque::new(), released: BTreeSet::new() }
    }

    /// Where the next holder begins.
    pub(super) fn committed(&self) -> u64 {
        self.committed
    }

    /// The next offset to deliver of a partition that ends before `end`: one that was released, or
    /// the first that was never read, as long as that is less than `longest_gap` beyond the lowest
    /// unfinished one.
    pub(super) fn read(&mut self, end: u64, longest_gap: usize) -> Option<u64> {
        if let Some(offset) = self.released.pop_first() {
            if let Some(mark) = self.mark(offset) {
                *mark = Mark::Delivered;
            }
            return Some(offset);
        }
        let offset = self.committed + self.marks.len() as u64;
        if offset >= end || self.marks.len() >= longest_gap {
            return None;
        }
        self.marks.push_back(Mark::Delivered);
        Some(offset)
    }

    /// Takes a verdict on an offset that was delivered. Returns whether it was.
    pub(super) fn settle(&mut self, offset: u64, verdict: Verdict) -> bool {
        let Some(mark) = self.mark(offset).filter(|mark| **mark == Mark::Delivered) else {
            return false;
        };
        match verdict {
            Verdict::Ack => *mark = Mark::Acknowledged,
            Verdict::Release => {
                *mark = Mark::Released;
                self.released.insert(offset);
            }
        }
        while self.marks.front() == Some(&Mark::Acknowledged) {
            self.marks.pop_front();
            self.committed += 1;
        }
        true
    }

    /// How many are acknowledged behind what is not: the next holder gets them again.
    pub(super) fn stranded(&self) -> usize {
        self.marks.iter().filter(|mark| **mark == Mark::Acknowledged).count()
    }

    fn mark(&mut self, offset: u64) -> Option<&mut Mark> {
        let place = usize::try_from(offset.checked_sub(self.committed)?).ok()?;
        self.marks.get_mut(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Read,
        Settle(prop::sample::Index, bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        let settle = (any::<prop::sample::Index>(), prop::bool::weighted(0.8));
        prop_oneof![Just(Step::Read), settle.prop_map(|(which, ack)| Step::Settle(which, ack))]
    }

    proptest! {
        #[test]
        fn the_watermark_is_the_lowest_unfinished_offset_in_any_order(
            start in 0_u64..1_000,
            longest_gap in 1_usize..20,
            steps in prop::collection::vec(step(), 0..200),
        ) {
            let (end, mut progress) = (start + 40, Progress::from(start));
            let (mut out, mut done) = (BTreeSet::new(), BTreeSet::new());
            for step in steps {
                match step {
                    Step::Read => {
                        if let Some(offset) = progress.read(end, longest_gap) {
                            prop_assert!(out.insert(offset), "delivered twice at a time");
                            prop_assert!(!done.contains(&offset), "delivered after its end");
                            let gap = offset - progress.committed();
                            prop_assert!(offset < end && gap < longest_gap as u64);
                        }
                    }
                    Step::Settle(which, ack) if !out.is_empty() => {
                        let all: Vec<u64> = out.iter().copied().collect();
                        let offset = *which.get(&all);
                        out.remove(&offset);
                        if ack {
                            done.insert(offset);
                        }
                        let verdict = if ack { Verdict::Ack } else { Verdict::Release };
                        prop_assert!(progress.settle(offset, verdict));
                        prop_assert!(!progress.settle(offset, Verdict::Ack), "settled twice");
                    }
                    Step::Settle(..) => {}
                }
                let lowest = (start..).find(|offset| !done.contains(offset));
                prop_assert_eq!(Some(progress.committed()), lowest);
                let stranded = done.iter().filter(|offset| **offset > progress.committed()).count();
                prop_assert_eq!(progress.stranded(), stranded);
            }
        }
    }

    #[test]
    fn what_is_released_comes_first_and_moves_nothing() {
        let mut progress = Progress::from(5);
        assert_eq!([5, 6, 7].map(Some), [0; 3].map(|_| progress.read(9, 10)));
        assert!(progress.settle(7, Verdict::Release) && progress.settle(5, Verdict::Release));
        assert_eq!(progress.committed(), 5);
        assert_eq!([5, 7, 8].map(Some), [0; 3].map(|_| progress.read(9, 10)));
        assert_eq!(progress.read(9, 10), None, "the partition ends there");
        assert!(!progress.settle(9, Verdict::Ack), "that was never delivered");
    }
}
