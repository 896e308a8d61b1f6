//! Random operations on one tree from all cores at once, checked on the way and in the quiet after.
//!
//! It takes a second. `cargo xtask soak` lets it run for longer, or again from a seed: what each
//! thread does in a round follows from the seed, only who comes first does not.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is how a fault shows")]

mod actor;
mod counted;
mod random;
mod seat;
mod stage;
mod waiter;

use std::thread;
use std::time::Duration;

use downhaul_context::Instant;

use actor::Actor;
use random::Random;
use stage::Stage;
use waiter::Waiter;

/// So few contexts at a time that the threads are always at the same ones.
const SEATS: usize = 24;
/// What a thread does in a round. Miri takes a thousand times as long for it.
const STEPS: usize = if cfg!(miri) { 100 } else { 2000 };
/// Under Miri one round is enough.
const SECONDS: u64 = if cfg!(miri) { 0 } else { 1 };
/// Longer than any run: timers are armed, reset and dropped, and none fires.
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn whatever_all_cores_do_to_a_tree_levels_rise_waiters_wake_and_nothing_is_left() {
    let seed = number("DOWNHAUL_SOAK_SEED").unwrap_or_else(Random::seed);
    let seconds = number("DOWNHAUL_SOAK_SECONDS").unwrap_or(SECONDS);
    println!("seed {seed}");
    let begun = Instant::now();
    let mut rounds = 0;
    while rounds == 0 || begun.elapsed() < Duration::from_secs(seconds) {
        let seed = Seed(seed.wrapping_add(rounds));
        round(seed.0);
        rounds += 1;
    }
    println!("{rounds} rounds of {STEPS} steps on each of {} threads", threads());
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|number| number.parse().unwrap())
}

fn threads() -> usize {
    thread::available_parallelism().map_or(4, |cores| cores.get().max(4))
}

/// Says, if the round fails, how to have it again.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("it was the round of `cargo xtask soak --seed {}`", self.0);
        }
    }
}

fn round(seed: u64) {
    let mut random = Random::new(seed);
    let stage = Stage::new(random.below(2) == 0);
    // In half of the rounds the root ends among all the rest, in the others after it.
    let ends_at = random.below(2 * STEPS);
    // Never driven: timers want a runtime to be armed in.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _runtime = runtime.enter();
    let mut waiters: Vec<Waiter> = thread::scope(|scope| {
        let play = |n| {
            let (stage, runtime, seed) = (&stage, runtime.handle(), random.next());
            scope.spawn(move || {
                let _runtime = runtime.enter();
                Actor::new(stage, seed).play((n == 0).then_some(ends_at))
            })
        };
        let actors: Vec<_> = (0..threads()).map(play).collect();
        actors.into_iter().flat_map(|actor| actor.join().unwrap()).collect()
    });
    for _ in 0..2 {
        stage.look_in_the_quiet();
        waiters.iter_mut().for_each(Waiter::judge);
        stage.end();
    }
    drop(waiters);
    stage.strike();
}
