//! Runs of a broker to which everything happens: to its links, to itself, to its consumers, on a
//! schedule that follows from a seed, and the oracle's word on it.
//!
//! A backend implements [`Site`]: what it starts, which faults can be made there, and how its
//! consumers and publishers are opened. The rest is here, the same for all: consumers with keys in
//! order on the queue [`STOCK`], several that share the queue [`CROWD`], publishers that go on all
//! the time, and rounds, each with a [`Menu`]'s faults in an order of its own, from empty queues to
//! empty queues.
//!
//! The seed is printed. `DOWNHAUL_FAULTS_SEED` repeats a schedule; what is under way when a fault
//! strikes still depends on the machine. `DOWNHAUL_FAULTS_MINUTES` goes on for so long instead of
//! for one round, which is how `cargo xtask chaos` runs it. `DOWNHAUL_FAULTS_LOG` names a file for
//! the oracle's log of each round, with the round's number behind it.

#![allow(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a run panics where a broker does not do what it must: that is how it tells"
)]

mod crew;
mod ending;
mod fault;
mod handler;
mod links;
mod menu;
mod publishing;
mod pulse;
mod round;
mod run;
mod site;
mod table;

use std::time::Duration;

use downhaul_consumer::ConsumerHandle;
use tokio::time::{sleep, timeout};

pub use self::fault::Fault;
pub use self::handler::becomes_a_letter;
pub use self::menu::{Draw, Menu, cuts, direction, links, millis};
pub use self::round::{CROWD, Round, STOCK};
pub use self::run::Run;
pub use self::site::Site;

/// How long anything may take that ought to happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// As long as what is on its way back to a queue is nobody's.
const QUIET: Duration = Duration::from_secs(2);

/// Bounds everything that ought to happen: a test fails, it does not hang.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    let waited = timeout(PATIENCE, future).await;
    waited.unwrap_or_else(|_| panic!("{what}: it did not happen"))
}

/// While a fault lasts.
pub async fn last(time: Duration) {
    // tidy: heartbeats and sessions are on the system's clock, so a fault that outlasts them is too
    sleep(time).await;
}

/// Waits until consumers have had nothing to do for a while.
async fn all_idle(consumers: &[&ConsumerHandle]) {
    for consumer in consumers {
        consumer.idle_for(QUIET).await;
    }
}
