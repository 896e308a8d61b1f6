//! A run against a real broker whose links are broken in every way, on a schedule that follows from
//! a seed, or whose process is killed, and the oracle's word on it.
//!
//! The seed is printed. `DOWNHAUL_FAULTS_SEED` repeats a schedule; what is under way when a fault
//! strikes still depends on the machine.

#![allow(clippy::unwrap_used, reason = "what the tests share is test code as well")]

mod plan;
mod world;

use std::time::Duration;

use downhaul_testkit::kafka::{Gap, shared_kind};
use downhaul_testkit::oracle::Promises;
use fastrand::Rng;
use tokio::sync::watch;

use crate::plan::{Fault, plan};
use crate::world::{ATTEMPTS, CONCURRENCY, World, soon};

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_its_links_nothing_is_lost_made_up_or_repeated_without_a_cause() {
    let test = "whatever_happens_to_its_links_nothing_is_lost_made_up_or_repeated_without_a_cause";
    if skips(test, Gap::Proxy) {
        return;
    }
    let mut rng = Rng::with_seed(seed());
    let faults = plan(&mut rng);
    run(&mut rng, &faults).await;
}

/// What was acknowledged is there afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_and_comes_back_loses_nothing() {
    let test = "a_broker_that_is_killed_and_comes_back_loses_nothing";
    if skips(test, Gap::Proxy) || skips(test, Gap::Survival) {
        return;
    }
    let second = Duration::from_secs(1);
    let faults = [Fault::Kill(Duration::ZERO), Fault::Kill(second), Fault::Kill(4 * second)];
    run(&mut Rng::with_seed(seed()), &faults).await;
}

/// A declared skip.
fn skips(test: &str, gap: Gap) -> bool {
    let why = match shared_kind() {
        None => "it breaks its broker, and this one is somebody else's".to_owned(),
        Some(kind) if kind.lacks(gap) => format!("{kind} {gap}"),
        Some(_) => return false,
    };
    println!("SKIPPED {test}: {why}");
    true
}

fn seed() -> u64 {
    let given = std::env::var("DOWNHAUL_FAULTS_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("DOWNHAUL_FAULTS_SEED={seed}");
    seed
}

/// A run whose promises were all kept.
async fn run(rng: &mut Rng, faults: &[Fault]) {
    let mut world = World::new().await;
    let (stop, stopped) = watch::channel(false);
    let mut publishing = world.publish(rng, &stopped);
    world.makes_progress("the start").await;
    for fault in faults {
        println!("{fault:?} after {} messages", world.oracle.done());
        world.suffer(*fault).await;
        world.makes_progress(&format!("{fault:?}")).await;
    }
    stop.send_replace(true);
    while let Some(published) = soon("the publishers stop", publishing.join_next()).await {
        published.unwrap();
    }
    world.drain().await;
    let promises = Promises::default().in_flight(CONCURRENCY.into()).attempts(ATTEMPTS);
    let report = world.oracle.check(&promises);
    println!("{report}");
    report.assert_clean();
    assert!(report.summary.confirmed > 300, "too little to prove anything");
}
