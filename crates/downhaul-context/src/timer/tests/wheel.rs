//! The wheel against a model that sorts.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::timer::wheel::{Key, Wheel};

#[derive(Clone, Debug)]
enum Step {
    /// So much after the wheel's time, or before it.
    Insert(i128),
    /// Of all keys that were given out and not removed yet.
    Remove(prop::sample::Index),
    Expire(u64),
    /// Stops half way.
    BeginToExpire(u64),
}

const MOST_STEPS: usize = if cfg!(miri) { 20 } else { 120 };

fn distance() -> impl Strategy<Value = u64> {
    prop_oneof![0..4u64, 0..200u64, 0..1_000_000u64, 0..100_000_000_000u64, any::<u64>()]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => distance().prop_map(|after| Step::Insert(after.into())),
        1 => distance().prop_map(|before| Step::Insert(-i128::from(before))),
        3 => any::<prop::sample::Index>().prop_map(Step::Remove),
        3 => distance().prop_map(Step::Expire),
        1 => distance().prop_map(Step::BeginToExpire),
    ]
}

/// A sorted map in which to look for what the wheel is to do.
struct Model {
    wheel: Wheel<usize>,
    now: u64,
    /// By due moment and number.
    waiting: BTreeMap<(u64, usize), Key>,
    fired: Vec<Key>,
    inserted: usize,
    /// Whether an expiry was interrupted: those of one moment may then come in another order.
    interrupted: bool,
}

impl Model {
    fn new() -> Self {
        Self {
            wheel: Wheel::new(0),
            now: 0,
            waiting: BTreeMap::new(),
            fired: Vec::new(),
            inserted: 0,
            interrupted: false,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Insert(after) => self.insert(after),
            Step::Remove(which) => self.remove(which),
            Step::Expire(after) => {
                self.now = self.now.saturating_add(after);
                while self.expire() {}
                assert_eq!(self.wheel.elapsed(), self.now);
                self.check_next_due();
            }
            Step::BeginToExpire(after) => {
                self.now = self.now.saturating_add(after);
                self.interrupted |= self.expire();
            }
        }
        assert_eq!(self.wheel.len(), self.waiting.len() + self.fired.len());
    }

    fn insert(&mut self, after: i128) {
        let due = (i128::from(self.now) + after).clamp(0, u64::MAX.into()) as u64;
        let number = self.inserted;
        match self.wheel.insert(due, number) {
            Ok(key) => {
                assert!(due > self.wheel.elapsed());
                assert_eq!(self.wheel.waiting(key, due), Some(&mut number.clone()));
                assert_eq!(self.wheel.waiting(key, due - 1), None);
                self.waiting.insert((due, number), key);
            }
            Err(_) => assert!(due <= self.wheel.elapsed()),
        }
        self.inserted += 1;
    }

    fn remove(&mut self, which: prop::sample::Index) {
        let all = self.waiting.len() + self.fired.len();
        if all == 0 {
            return;
        }
        let index = which.index(all);
        if let Some((&(due, number), &key)) = self.waiting.iter().nth(index) {
            self.waiting.remove(&(due, number));
            assert_eq!(self.wheel.remove(key), (due, Some(number)));
        } else {
            let key = self.fired.swap_remove(index - self.waiting.len());
            assert_eq!(self.wheel.remove(key).1, None);
        }
    }

    fn expire(&mut self) -> bool {
        let mut out = Vec::new();
        let more = self.wheel.expire(self.now, &mut out);
        for number in out {
            let (&(earliest, first), _) = self.waiting.first_key_value().unwrap();
            let due = self.waiting.keys().find(|of| of.1 == number).unwrap().0;
            assert_eq!(due, earliest);
            assert!(due <= self.now);
            assert!(number == first || self.interrupted);
            self.fired.push(self.waiting.remove(&(due, number)).unwrap());
        }
        let left = self.waiting.keys().next().is_some_and(|&(due, _)| due <= self.now);
        assert!(more || !left);
        more
    }

    fn check_next_due(&mut self) {
        let earliest = self.waiting.keys().next().map(|of| of.0);
        let about = self.wheel.next_due();
        assert_eq!(about.is_some(), earliest.is_some());
        assert!(about <= earliest);
        assert!(about.is_none_or(|about| about > self.now));
        self.wheel.tighten();
        assert_eq!(self.wheel.next_due(), earliest);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 256 }))]
    #[test]
    fn it_agrees_with_a_sorted_map(steps in prop::collection::vec(step(), 1..MOST_STEPS)) {
        let mut model = Model::new();
        for step in steps {
            model.take(step);
        }
        model.take(Step::Expire(u64::MAX));
        prop_assert!(model.waiting.is_empty());
    }
}

#[test]
fn what_is_inserted_and_removed_takes_no_more_room_than_one() {
    let mut wheel = Wheel::new(0);
    for due in 1..1_000 {
        let key = wheel.insert(due, due).unwrap();
        assert_eq!(key, 0);
        assert_eq!(wheel.remove(key), (due, Some(due)));
        assert_eq!(wheel.next_due(), None);
    }
}

#[test]
fn those_of_one_moment_fire_in_the_order_in_which_they_came() {
    let mut wheel = Wheel::new(0);
    let due = 5_000_000_000;
    let (mut out, mut at) = (Vec::new(), [0, 4_000_000_000, 4_999_999_000, due].into_iter());
    for number in 0..6 {
        wheel.insert(due, number).unwrap();
        if number % 2 == 1 {
            let now = at.next().unwrap();
            while wheel.expire(now, &mut out) {}
            assert!(out.is_empty());
        }
    }
    while wheel.expire(due, &mut out) {}
    assert_eq!(out, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_clock_that_runs_backwards_does_not_turn_time_back() {
    let (mut wheel, mut out) = (Wheel::new(0), Vec::new());
    wheel.insert(2_000, ()).unwrap();
    for now in [1_000, 10] {
        assert!(!wheel.expire(now, &mut out));
        assert_eq!(wheel.elapsed(), 1_000);
    }
}
