//! What was measured of one case, round by round, and what it comes to.

use std::time::Duration;

use crate::lap::Reading;

/// The cost of one operation, as one round saw it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) nanoseconds: f64,
    pub(crate) allocations: f64,
    pub(crate) bytes: f64,
    /// Bytes that are still in use afterwards.
    pub(crate) live: f64,
}

impl Sample {
    /// Of threads that ran side by side: the time that passed until the last had finished.
    pub(crate) fn of(readings: &[Reading]) -> Self {
        let wall = wall(readings).as_nanos() as f64;
        let operations = f64::from(readings.iter().map(|reading| reading.operations).sum::<u32>());
        let per = |total: f64| total / operations;
        let sum = |part: fn(&Reading) -> f64| per(readings.iter().map(part).sum());
        Self {
            nanoseconds: per(wall),
            allocations: sum(|reading| reading.tally.allocations as f64),
            bytes: sum(|reading| reading.tally.allocated as f64),
            live: sum(|reading| reading.tally.live()),
        }
    }
}

/// From the first start to the last end.
fn wall(readings: &[Reading]) -> Duration {
    let from = readings.iter().map(|reading| reading.from).min();
    let until = readings.iter().map(Reading::until).max();
    from.zip(until).map_or(Duration::ZERO, |(from, until)| until - from)
}

/// The part of the time in which all threads were running.
pub(crate) fn overlap(readings: &[Reading]) -> f64 {
    let from = readings.iter().map(|reading| reading.from).max();
    let until = readings.iter().map(Reading::until).min();
    let shared = from.zip(until).map(|(from, until)| until.saturating_duration_since(from));
    shared.unwrap_or_default().as_secs_f64() / wall(readings).as_secs_f64()
}

/// Both sides of one case. There is no peer where its figure is quoted.
#[derive(Clone, Debug)]
pub(crate) struct Samples {
    pub(crate) ours: Vec<Sample>,
    pub(crate) peer: Vec<Sample>,
}

impl Samples {
    /// The ratio of ours to the peer's, and how it varies.
    pub(crate) fn ratio(&self) -> Quartiles {
        let rounds = self.ours.iter().zip(&self.peer);
        // Both sides of a round ran in the same moment.
        Quartiles::of(rounds.map(|(ours, peer)| ours.nanoseconds / peer.nanoseconds))
    }
}

/// The nanoseconds of each.
pub(crate) fn nanoseconds(samples: &[Sample]) -> Quartiles {
    Quartiles::of(samples.iter().map(|sample| sample.nanoseconds))
}

/// The value in the middle, and between which the middle half lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quartiles {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Quartiles {
    /// All of them zero where there are no values.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |quarter: usize| {
            let last = values.len().saturating_sub(1);
            values.get(last * quarter / 4).copied().unwrap_or_default()
        };
        Self { low: at(1), median: at(2), high: at(3) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Tally;

    /// Each thread from one millisecond to another, with ten operations and allocations.
    fn readings<const THREADS: usize>(times: [(u64, u64); THREADS]) -> [Reading; THREADS] {
        let zero = tokio::time::Instant::now().into_std();
        times.map(|(from, until)| Reading {
            from: zero + Duration::from_millis(from),
            spent: Duration::from_millis(until - from),
            operations: 10,
            tally: Tally { allocations: 10, allocated: 80, freed: 20 },
        })
    }

    #[test]
    fn threads_take_the_time_from_the_first_start_to_the_last_end() {
        let sample = Sample::of(&readings([(2, 8), (5, 10)]));
        assert_eq!(sample.nanoseconds, 8e6 / 20.0);
        assert_eq!((sample.allocations, sample.bytes, sample.live), (1.0, 8.0, 6.0));
    }

    #[test]
    fn threads_overlap_as_far_as_all_of_them_run() {
        assert_eq!(overlap(&readings([(2, 8), (5, 10)])), 3.0 / 8.0);
        assert_eq!(overlap(&readings([(0, 4), (4, 8)])), 0.0);
        assert_eq!(overlap(&readings([(0, 4), (6, 8)])), 0.0);
        assert_eq!(overlap(&readings([(0, 4)])), 1.0);
    }

    #[test]
    fn the_median_is_the_value_in_the_middle() {
        let quartiles = Quartiles::of([9.0, 1.0, 5.0, 7.0, 3.0].into_iter());
        assert_eq!(quartiles, Quartiles { low: 3.0, median: 5.0, high: 7.0 });
    }

    #[test]
    fn a_ratio_is_taken_within_a_round_and_not_between_medians() {
        let side = |times: [f64; 3]| {
            times.map(|nanoseconds| Sample { nanoseconds, ..Sample::default() }).to_vec()
        };
        let samples = Samples { ours: side([1.0, 20.0, 3.0]), peer: side([4.0, 40.0, 60.0]) };
        assert_eq!(samples.ratio().median, 0.25);
    }
}
