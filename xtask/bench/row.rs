//! [`Row`]: one line of a table, measured.

use crate::case::{Case, Goal};
use crate::memory::Memory;
use crate::samples::{Quartiles, Sample, Samples, nanoseconds};

/// One case of one area, and what came of it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) area: &'static str,
    pub(crate) case: Case,
    pub(crate) times: Samples,
    pub(crate) memory: Memory,
}

impl Row {
    /// Ours, in [`unit`](Self::unit).
    pub(crate) fn ours(&self) -> f64 {
        match self.case.goal.is_live() {
            true => live(self.memory.ours),
            false => nanoseconds(&self.times.ours).median,
        }
    }

    pub(crate) fn peer(&self) -> f64 {
        match self.case.goal {
            Goal::LiveBytes(_) | Goal::LiveRatio(_) => live(self.memory.peer),
            Goal::RatioToQuoted(_, quoted) => quoted,
            _ => nanoseconds(&self.times.peer).median,
        }
    }

    pub(crate) fn ratio(&self) -> Quartiles {
        match self.case.goal {
            Goal::Ratio(_) | Goal::Nanoseconds(_) => self.times.ratio(),
            Goal::LiveBytes(_) | Goal::LiveRatio(_) => {
                Quartiles::of([self.ours() / self.peer()].into_iter())
            }
            Goal::RatioToQuoted(_, quoted) => {
                Quartiles::of(self.times.ours.iter().map(|sample| sample.nanoseconds / quoted))
            }
        }
    }

    pub(crate) fn unit(&self) -> &'static str {
        if self.case.goal.is_live() { "B" } else { "ns" }
    }

    pub(crate) fn is_quoted(&self) -> bool {
        matches!(self.case.goal, Goal::RatioToQuoted(..))
    }

    /// Whether the target is one of ours alone, and not of the ratio.
    pub(crate) fn is_absolute(&self) -> bool {
        matches!(self.case.goal, Goal::Nanoseconds(_) | Goal::LiveBytes(_))
    }

    pub(crate) fn target(&self) -> f64 {
        match self.case.goal {
            Goal::Ratio(target) | Goal::RatioToQuoted(target, _) | Goal::LiveRatio(target) => {
                target
            }
            Goal::Nanoseconds(target) | Goal::LiveBytes(target) => target,
        }
    }

    pub(crate) fn ok(&self) -> bool {
        let reached = if self.is_absolute() { self.ours() } else { self.ratio().median };
        // A list that has grown meanwhile is a fraction of an allocation.
        let allocated = self.memory.ours.map_or(f64::NAN, |ours| ours.allocations.round());
        reached <= self.target() && self.case.allocations.is_none_or(|most| allocated <= most)
    }
}

fn live(memory: Option<Sample>) -> f64 {
    memory.map_or(f64::NAN, |memory| memory.live)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::peers::TOKEN;

    /// Ours takes 60, and so many allocations and live bytes; the peer takes 100.
    pub(crate) fn row(goal: Goal) -> Row {
        let sample = |nanoseconds| {
            vec![Sample { nanoseconds, allocations: 2.0, live: 60.0, ..Sample::default() }]
        };
        let times = Samples { ours: sample(60.0), peer: sample(100.0) };
        let memory = Memory { ours: Some(times.ours[0]), peer: Some(times.peer[0]) };
        let case = Case::new("c", TOKEN, goal, |_| unreachable!("not measured"));
        Row { area: "a", case, times, memory }
    }

    #[test]
    fn a_row_is_ok_at_its_target_and_not_above() {
        for (at, below) in [
            (Goal::Ratio(0.6), Goal::Ratio(0.59)),
            (Goal::RatioToQuoted(0.5, 120.0), Goal::RatioToQuoted(0.49, 120.0)),
            (Goal::Nanoseconds(60.0), Goal::Nanoseconds(59.0)),
            (Goal::LiveBytes(60.0), Goal::LiveBytes(59.0)),
            (Goal::LiveRatio(1.0), Goal::LiveRatio(0.9)),
        ] {
            assert!(row(at).ok(), "{at:?}");
            assert!(!row(below).ok(), "{below:?}");
        }
    }

    #[test]
    fn a_row_with_too_many_allocations_is_not_ok() {
        let allocating = |most| {
            let row = row(Goal::Ratio(1.0));
            Row { case: row.case.allocating(most), ..row }
        };
        assert!(allocating(2).ok());
        assert!(!allocating(1).ok());
    }

    #[test]
    fn what_should_have_been_counted_and_was_not_is_not_ok() {
        let uncounted = |row: Row| Row { memory: Memory::default(), ..row };
        let row_of_time = row(Goal::Ratio(1.0));
        let limited = Row { case: row_of_time.case.allocating(9), ..row_of_time };
        assert!(!uncounted(limited).ok());
        assert!(!uncounted(row(Goal::LiveBytes(1000.0))).ok());
        assert!(uncounted(row(Goal::Ratio(1.0))).ok());
    }
}
