//! A run against a private broker to which everything happens: to its links, to itself, to its
//! consumers and the group that they are. See [`downhaul_testkit::faults`] for its seed and for how
//! long it takes, and `DOWNHAUL_KAFKA_KIND` for the stand-in. `RUST_LOG` shows what the client
//! says.

#![allow(clippy::unwrap_used, reason = "what the tests share is test code as well")]

mod menu;
mod witness;
mod world;

use std::time::Duration;

use downhaul_testkit::faults::{Fault, Run};
use downhaul_testkit::kafka::{Gap, Kind, shared_kind};
use tokio::sync::{Mutex, MutexGuard};
use tracing_subscriber::EnvFilter;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_nothing_is_lost_made_up_or_repeated_without_a_cause() {
    let test = "whatever_happens_nothing_is_lost_made_up_or_repeated_without_a_cause";
    let Some(kind) = kind(test, &[]) else { return };
    let said = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off"));
    let _ = tracing_subscriber::fmt().with_env_filter(said).try_init();
    let _turn = turn().await;
    Run::new().everything(&mut World::new(kind)).await;
}

/// What was acknowledged is there afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_and_comes_back_loses_nothing() {
    let test = "a_broker_that_is_killed_and_comes_back_loses_nothing";
    let Some(kind) = kind(test, &[Gap::Survival]) else { return };
    let _turn = turn().await;
    let second = Duration::from_secs(1);
    let faults = [Duration::ZERO, second, 4 * second].map(Fault::Kill);
    Run::new().these(&mut World::new(kind), &faults).await;
}

/// What stands in for Kafka; `None`, which is printed, where that cannot do what a test needs.
fn kind(test: &str, needs: &[Gap]) -> Option<Kind> {
    let kind = shared_kind();
    let why = match kind {
        None => "it breaks its broker, and this one is somebody else's".to_owned(),
        Some(kind) => {
            let Some(gap) = needs.iter().find(|gap| kind.lacks(**gap)) else { return Some(kind) };
            format!("{kind} {gap}")
        }
    };
    println!("SKIPPED {test}: {why}");
    None
}

/// Two at a time would be under each other's load.
async fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}
