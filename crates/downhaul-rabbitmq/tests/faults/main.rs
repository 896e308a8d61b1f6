//! A run against a real node to which everything happens: to its links, to itself, to its
//! consumers. See [`downhaul_testkit::faults`] for its seed and for how long it takes.

#![allow(clippy::unwrap_used, reason = "what the tests share is test code as well")]

mod menu;
mod world;

use downhaul_testkit::faults::{Fault, Run};
use downhaul_testkit::proxy::Cut;
use tokio::sync::{Mutex, MutexGuard};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_nothing_is_lost_made_up_or_repeated_without_a_cause() {
    let run = Run::new();
    let _turn = turn().await;
    run.everything(&mut World::new().await).await;
}

/// A question that was asked at the moment of a reset once waited for ever.
#[tokio::test(flavor = "multi_thread")]
async fn links_that_are_reset_again_and_again_are_made_anew_each_time() {
    let _turn = turn().await;
    Run::new().these(&mut World::new().await, &[Fault::Cut(Cut::Reset); 25]).await;
}

/// Nodes boot faster after each other.
async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}
