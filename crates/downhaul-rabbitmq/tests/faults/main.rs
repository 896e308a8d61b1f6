//! A run against a real node to which everything happens: to its links, to itself, to its
//! consumers, on a schedule that follows from a seed, and the oracle's word on it.
//!
//! The seed is printed. `DOWNHAUL_FAULTS_SEED` repeats a schedule; what is under way when a fault
//! strikes still depends on the machine. `DOWNHAUL_FAULTS_MINUTES` goes on for so long instead of
//! for one round, which is how `cargo xtask chaos` runs it. `DOWNHAUL_FAULTS_LOG` names a file for
//! the oracle's log of each round, with the round's number behind it.

#![allow(clippy::unwrap_used, reason = "what the tests share is test code as well")]

mod handler;
mod plan;
mod pulse;
mod round;
mod table;
mod world;

use std::time::Duration;

use downhaul_testkit::proxy::Cut;
use fastrand::Rng;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::plan::{Fault, plan};
use crate::round::Round;
use crate::table::Table;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_nothing_is_lost_made_up_or_repeated_without_a_cause() {
    let mut rng = Rng::with_seed(seed());
    let minutes = number("DOWNHAUL_FAULTS_MINUTES").unwrap_or(0);
    let (begun, time) = (Instant::now(), Duration::from_secs(60 * minutes));
    let until = (minutes > 0).then(|| begun + time);
    let _turn = turn().await;
    let (mut world, mut table) = (World::new().await, Table::default());
    loop {
        let faults = plan(&mut rng);
        run(&mut world, &mut rng, &faults, until, &mut table).await;
        if until.is_none_or(|until| Instant::now() >= until) {
            break;
        }
    }
    table.took = begun.elapsed();
    println!("{table}");
    table.assert_proves_something();
}

/// A question that was asked at the moment of a reset once waited for ever.
#[tokio::test(flavor = "multi_thread")]
async fn links_that_are_reset_again_and_again_are_made_anew_each_time() {
    let _turn = turn().await;
    let (mut world, mut rng) = (World::new().await, Rng::with_seed(seed()));
    let faults = [Fault::Cut(Cut::Reset); 25];
    run(&mut world, &mut rng, &faults, None, &mut Table::default()).await;
}

/// Nodes boot faster after each other.
async fn turn() -> tokio::sync::MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

fn seed() -> u64 {
    let seed = number("DOWNHAUL_FAULTS_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("DOWNHAUL_FAULTS_SEED={seed}");
    seed
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// A round whose promises were all kept. No fault begins after `until`.
async fn run(
    world: &mut World,
    rng: &mut Rng,
    faults: &[Fault],
    until: Option<Instant>,
    table: &mut Table,
) {
    let round = Round::begin(world).await;
    let publishing = round.publish(rng);
    round.makes_progress(world, "the start").await;
    let connections = world.connections();
    for fault in faults {
        if until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        println!("{fault:?} after {} messages", round.oracle.done());
        world.suffer(&round, *fault).await;
        table.count(*fault);
        round.makes_progress(world, &format!("{fault:?}")).await;
    }
    table.reconnects += world.connections() - connections;
    publishing.stop().await;
    let report = round.end(world, table).await;
    println!("{report}");
    report.assert_clean();
}
