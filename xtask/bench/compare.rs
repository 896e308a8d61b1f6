//! Comparing two pieces of code so that the machine's mood hits both.

use std::time::{Duration, Instant};

/// Medians in nanoseconds per call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Comparison {
    pub(crate) ours: f64,
    pub(crate) peer: f64,
    /// The median of the rounds' ratios: both sides of a round ran in the same moment.
    pub(crate) ratio: f64,
}

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(20);

/// Runs both in turn, [`ROUNDS`] times.
pub(crate) fn compare(mut ours: impl FnMut(), mut peer: impl FnMut()) -> Comparison {
    // As many calls as fill a round; this also warms up caches and the allocator.
    let (our_calls, peer_calls) = (calibrate(&mut ours), calibrate(&mut peer));
    let mut rounds = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        // Who goes first alternates: the second finds a warmer or a hotter machine.
        let (our_time, peer_time) = if round % 2 == 0 {
            let first = time(&mut ours, our_calls);
            (first, time(&mut peer, peer_calls))
        } else {
            let first = time(&mut peer, peer_calls);
            (time(&mut ours, our_calls), first)
        };
        rounds.push((our_time, peer_time));
    }
    Comparison {
        ours: median(rounds.iter().map(|round| round.0)),
        peer: median(rounds.iter().map(|round| round.1)),
        ratio: median(rounds.iter().map(|round| round.0 / round.1)),
    }
}

fn calibrate(work: &mut impl FnMut()) -> u32 {
    let mut calls = 1;
    while time(work, calls) * f64::from(calls) < ROUND.as_nanos() as f64 && calls < 1 << 28 {
        calls *= 2;
    }
    calls
}

/// Nanoseconds per call.
#[expect(clippy::disallowed_methods, reason = "measuring is what this is for")]
fn time(work: &mut impl FnMut(), calls: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        work();
    }
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn the_median_is_the_value_in_the_middle() {
        assert_eq!(median([9.0, 1.0, 5.0].into_iter()), 5.0);
    }

    #[test]
    fn twenty_times_the_work_is_slower() {
        let work = |turns: u64| (0..turns).for_each(|turn| drop(black_box(vec![turn])));
        assert!(compare(|| work(1), || work(20)).ratio < 0.5);
    }
}
