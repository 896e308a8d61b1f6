//! Whole runs under faults, each decided by its seed alone: the memory broker behind one that
//! fails on purpose, in one thread, with a paused clock. The oracle judges what is left.
//!
//! A failing run prints its seed. `DOWNHAUL_SEED=n cargo test -p downhaul-consumer --all-features
//! --test seeds replay -- --nocapture` does it again and prints all that happened.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is how a fault shows")]

mod bugs;
mod mutations;
mod operator;
mod run;
mod scene;
mod work;

use std::ops::Range;

use crate::run::run;
use crate::scene::Scene;

/// All runs of a range keep all promises.
fn hold(seeds: Range<u64>) {
    let mut total = Totals::default();
    let count = seeds.clone().count();
    for seed in seeds.clone() {
        let outcome = run(&Scene::of(seed));
        assert!(outcome.is_clean(), "DOWNHAUL_SEED={seed}: {outcome}");
        total.add(&outcome);
    }
    println!("{seeds:?}: {total:?}");
    // A range that proves nothing is no proof.
    assert!(total.incidents > count && total.again > count, "{total:?}");
    assert!(total.dead > 0, "{total:?}");
}

/// How much a range of runs has gone through.
#[derive(Debug, Default)]
struct Totals {
    confirmed: usize,
    incidents: usize,
    again: usize,
    dead: usize,
}

impl Totals {
    fn add(&mut self, outcome: &run::Outcome) {
        let summary = outcome.report.summary;
        self.confirmed += summary.confirmed;
        self.incidents += outcome.incidents.len();
        self.again += summary.again;
        self.dead += summary.dead;
    }
}

#[test]
fn seeds_of_the_first_quarter_keep_all_promises() {
    hold(0..1000);
}

#[test]
fn seeds_of_the_second_quarter_keep_all_promises() {
    hold(1000..2000);
}

#[test]
fn seeds_of_the_third_quarter_keep_all_promises() {
    hold(2000..3000);
}

#[test]
fn seeds_of_the_fourth_quarter_keep_all_promises() {
    hold(3000..4000);
}

#[test]
fn a_seed_decides_all_that_happens() {
    for seed in [3, 11, 42] {
        let (once, again) = (run(&Scene::of(seed)), run(&Scene::of(seed)));
        let differs = once.trace.iter().zip(&again.trace).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(once.trace.len(), again.trace.len(), "seed {seed}");
        assert_ne!(once.trace, run(&Scene::of(seed + 1)).trace);
    }
}

/// Does nothing, unless it is told a seed, or some as `0..20000`.
#[test]
fn replay() {
    let Ok(seeds) = std::env::var("DOWNHAUL_SEED") else { return };
    let number = |text: &str| text.parse::<u64>().expect("DOWNHAUL_SEED is a number or two");
    match seeds.split_once("..") {
        None => replay_one(number(&seeds)),
        Some((first, end)) => replay_many(number(first)..number(end)),
    }
}

fn replay_one(seed: u64) {
    let outcome = run(&Scene::of(seed));
    outcome.trace.iter().for_each(|line| println!("{line}"));
    println!("{outcome}");
    assert!(outcome.is_clean(), "see above");
}

fn replay_many(seeds: Range<u64>) {
    let outcomes = seeds.map(|seed| run(&Scene::of(seed)));
    let wrong = outcomes.filter(|outcome| !outcome.is_clean()).inspect(|one| println!("{one}"));
    assert_eq!(wrong.count(), 0, "see above");
}
