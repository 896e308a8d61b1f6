//! A run against a real node whose links are broken in every way, on a schedule that follows from a
//! seed, and the oracle's word on it.
//!
//! The seed is printed. `DOWNHAUL_FAULTS_SEED` repeats a schedule; what is under way when a fault
//! strikes still depends on the machine. `DOWNHAUL_FAULTS_LOG` names a file for the oracle's log.

#![allow(clippy::unwrap_used, reason = "what the tests share is test code as well")]

mod plan;
mod world;

use downhaul_testkit::oracle::{Promises, Summary};
use downhaul_testkit::proxy::Cut;
use fastrand::Rng;
use tokio::sync::{Mutex, watch};

use crate::plan::{Fault, plan};
use crate::world::{ATTEMPTS, CONCURRENCY, World, soon};

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_its_links_nothing_is_lost_made_up_or_repeated_without_a_cause() {
    let mut rng = Rng::with_seed(seed());
    let faults = plan(&mut rng);
    let summary = run(&mut rng, &faults).await;
    assert!(summary.confirmed > 1_000 && summary.dead > 50, "too little to prove anything");
    assert!(summary.repeated > 0 && summary.after_losses > 0, "the faults met nothing");
}

/// A question that was asked at the moment of a reset once waited for ever.
#[tokio::test(flavor = "multi_thread")]
async fn links_that_are_reset_again_and_again_are_made_anew_each_time() {
    run(&mut Rng::with_seed(seed()), &[Fault::Cut(Cut::Reset); 25]).await;
}

fn seed() -> u64 {
    let given = std::env::var("DOWNHAUL_FAULTS_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("DOWNHAUL_FAULTS_SEED={seed}");
    seed
}

/// A run whose promises were all kept.
async fn run(rng: &mut Rng, faults: &[Fault]) -> Summary {
    // Nodes boot faster after each other.
    static TURN: Mutex<()> = Mutex::const_new(());
    let _turn = TURN.lock().await;
    let world = World::new().await;
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
    let promises = promises.key_order().one_of_a_key();
    let report = world.oracle.check(&promises);
    println!("{report}");
    report.assert_clean();
    report.summary
}
