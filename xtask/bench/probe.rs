//! Running both sides of a case so that the machine's mood hits both.

use std::thread;
use std::time::{Duration, Instant};

use crate::lap::{Lap, Reading, Start};
use crate::rounds::{interleave, stopwatch, until_enough};
use crate::samples::{Sample, Samples, overlap};
use crate::tally::Counter;

/// Short enough that the system lets most rounds finish in peace, however busy it is.
const ROUND: Duration = Duration::from_micros(200);
/// Threads that start together do not start at once, which must not matter.
const ROUND_OF_THREADS: Duration = Duration::from_millis(1);
/// How long a case goes on, as far as the limits of the number of rounds allow.
const ENOUGH: Duration = Duration::from_millis(800);
/// What the optimiser has removed takes for ever to fill a round.
const MOST_TURNS: u32 = 1 << 28;
/// The part of a round that all threads must share; the rest is for the one that is held up most.
const SIDE_BY_SIDE: f64 = 0.5;
const TRIES: u32 = 20;
/// What is counted is the same in each turn, so a few tell.
const COUNTED_TURNS: u32 = 16;

/// How cases are measured: on how many threads, and whether it is time or memory.
pub(crate) struct Probe {
    threads: usize,
    counter: Option<Counter>,
}

/// What one side does, on each of its threads.
pub(crate) trait Side: Fn(&Lap<'_>) -> Reading + Sync {}

impl<F: Fn(&Lap<'_>) -> Reading + Sync> Side for F {}

impl Probe {
    /// Takes the time.
    pub(crate) fn timing(threads: usize) -> Self {
        Self { threads, counter: None }
    }

    /// Takes the memory, on one thread: the counter knows only the whole process.
    pub(crate) fn counting(counter: Counter) -> Self {
        Self { threads: 1, counter: Some(counter) }
    }

    /// Runs both in turn, round by round.
    pub(crate) fn compare(&self, ours: impl Side, peer: impl Side) -> Samples {
        if self.counter.is_some() {
            let counted = |side: &dyn Side| vec![self.sample(side, COUNTED_TURNS)];
            return Samples { ours: counted(&ours), peer: counted(&peer) };
        }
        let (our_turns, peer_turns) = (self.calibrate(&ours), self.calibrate(&peer));
        let run_ours = || self.sample(&ours, our_turns);
        interleave(until_enough(ENOUGH), run_ours, || self.sample(&peer, peer_turns))
    }

    /// Runs ours alone, where nothing is there to run against.
    pub(crate) fn alone(&self, ours: impl Side) -> Samples {
        if self.counter.is_some() {
            return Samples { ours: vec![self.sample(&ours, COUNTED_TURNS)], peer: Vec::new() };
        }
        let turns = self.calibrate(&ours);
        let run_ours = || self.sample(&ours, turns);
        let samples = interleave(until_enough(ENOUGH / 2), run_ours, Sample::default);
        Samples { peer: Vec::new(), ..samples }
    }

    /// Runs both in turn, a few times, where each takes its own time. Nothing of it is counted.
    pub(crate) fn stopwatch(
        &self,
        ours: impl FnMut() -> Duration,
        peer: impl FnMut() -> Duration,
    ) -> Samples {
        self.timed(|| stopwatch(ours, peer))
    }

    /// Takes samples that were measured elsewhere. Nothing of it is counted.
    pub(crate) fn timed(&self, samples: impl FnOnce() -> Samples) -> Samples {
        match self.counter {
            Some(_) => Samples { ours: Vec::new(), peer: Vec::new() },
            None => samples(),
        }
    }

    fn sample(&self, side: &dyn Side, turns: u32) -> Sample {
        let mut readings = self.round(side, turns);
        // On a busy machine one thread often waits until the other has finished.
        for _ in 1..TRIES {
            if overlap(&readings) >= SIDE_BY_SIDE {
                break;
            }
            readings = self.round(side, turns);
        }
        Sample::of(&readings)
    }

    fn round(&self, side: &dyn Side, turns: u32) -> Vec<Reading> {
        let start = Start::of(self.threads);
        let lap = Lap { turns, start: &start, counter: self.counter };
        if self.threads == 1 {
            return vec![side(&lap)];
        }
        thread::scope(|scope| {
            let spawn = |_| scope.spawn(|| side(&lap));
            let threads: Vec<_> = (0..self.threads).map(spawn).collect();
            let readings = threads.into_iter().map(|thread| thread.join());
            readings.collect::<Result<_, _>>().expect("what a case asserts holds")
        })
    }

    /// As many turns as fill a round; finding out also warms up caches and the allocator.
    fn calibrate(&self, side: &dyn Side) -> u32 {
        let round = if self.threads == 1 { ROUND } else { ROUND_OF_THREADS };
        let mut turns = 1;
        // Who was slow once may have been interrupted.
        while turns < MOST_TURNS && (0..3).any(|_| self.took(side, turns) < round) {
            turns *= 2;
        }
        turns
    }

    /// The set-up of batches is part of a round, the wait for another thread to start is not.
    #[expect(clippy::disallowed_methods, reason = "measuring is what this is for")]
    fn took(&self, side: &dyn Side, turns: u32) -> Duration {
        let start = Instant::now();
        let sample = self.sample(side, turns);
        if self.threads == 1 {
            return start.elapsed();
        }
        let operations = f64::from(turns) * self.threads as f64;
        Duration::from_nanos((sample.nanoseconds * operations) as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use super::*;
    use crate::tally::Tally;

    fn work(turns: u64) {
        (0..turns).for_each(|turn| drop(black_box(vec![turn])));
    }

    #[test]
    fn a_hundred_times_the_work_is_slower() {
        let ours = |lap: &Lap<'_>| lap.run(|| work(1));
        let peer = |lap: &Lap<'_>| lap.run(|| work(100));
        assert!(Probe::timing(1).compare(ours, peer).ratio().median < 0.5);
    }

    #[test]
    fn threads_start_together() {
        let arrived = AtomicUsize::new(0);
        let samples = Probe::timing(2).alone(|lap| {
            let before = arrived.fetch_add(1, Ordering::AcqRel);
            let reading = lap.run(|| work(1));
            let now = arrived.load(Ordering::Acquire);
            assert!(now / 2 > before / 2, "one of a pair has begun without the other");
            reading
        });
        assert!(samples.ours.len() >= 5);
        assert!(arrived.into_inner().is_multiple_of(2));
    }

    #[test]
    fn what_sets_a_batch_up_and_what_takes_it_down_does_not_count() {
        struct Slow;
        impl Drop for Slow {
            fn drop(&mut self) {
                work(500);
            }
        }
        let set_up = || {
            work(500);
            Slow
        };
        let ours = |lap: &Lap<'_>| lap.batch(1, set_up, |_| work(1));
        let peer = |lap: &Lap<'_>| lap.batch(1, || (), |()| work(100));
        assert!(Probe::timing(1).compare(ours, peer).ratio().median < 0.5);
    }

    #[test]
    fn a_batch_is_divided_by_its_operations() {
        let ours = |lap: &Lap<'_>| lap.batch(100, || (), |()| work(100));
        let peer = |lap: &Lap<'_>| lap.batch(1, || (), |()| work(100));
        assert!(Probe::timing(1).compare(ours, peer).ratio().median < 0.5);
    }

    #[test]
    fn what_runs_alone_has_no_peer() {
        let samples = Probe::timing(1).alone(|lap| lap.run(|| work(1)));
        assert!(samples.ours.len() >= 5 && samples.peer.is_empty());
        assert!(samples.ours.iter().all(|sample| sample.nanoseconds > 0.0));
    }

    #[test]
    fn what_is_counted_is_divided_by_the_operations_too() {
        fn each_call_allocates_32_more() -> Tally {
            static CALLS: AtomicU64 = AtomicU64::new(0);
            let calls = CALLS.fetch_add(1, Ordering::Relaxed);
            Tally { allocations: 32 * calls, allocated: 320 * calls, freed: 160 * calls }
        }
        let probe = Probe::counting(each_call_allocates_32_more);
        let samples = probe.compare(|lap| lap.run(|| ()), |lap| lap.batch(8, || (), |()| ()));
        let figures = |sample: &Sample| (sample.allocations, sample.bytes, sample.live);
        assert_eq!(figures(&samples.ours[0]), (2.0, 20.0, 10.0));
        assert_eq!(figures(&samples.peer[0]), (4.0, 40.0, 20.0));
    }
}
