//! One broker of a kind for all tests of a process.

use std::sync::{Mutex, PoisonError};

use super::broker::Broker;
use super::gap::Gap;
use super::kind::Kind;
use crate::ledger;

/// Where a broker that all tests of this process share answers: `DOWNHAUL_KAFKA_BROKERS` if that is
/// set, else a private broker of the [chosen](Kind::chosen) kind that the first caller starts.
/// Tests keep apart by [`unique`](crate::unique) names.
///
/// # Panics
///
/// If no broker can be had. A test that needs a broker fails without one; it is never skipped.
#[track_caller]
pub fn shared() -> String {
    match std::env::var("DOWNHAUL_KAFKA_BROKERS") {
        Ok(given) => {
            record_use();
            given
        }
        Err(_) => shared_of(Kind::chosen()),
    }
}

/// Where a private broker of a kind of the caller's choice answers, which all tests of this process
/// that choose it share: for what the chosen one [lacks](shared_lacks).
///
/// # Panics
///
/// As [`shared`].
#[track_caller]
pub fn shared_of(kind: Kind) -> String {
    record_use();
    // Never dropped, as statics are: its watchdog ends it with the process.
    static BROKERS: Mutex<Vec<(Kind, Result<Broker, String>)>> = Mutex::new(Vec::new());
    let mut brokers = BROKERS.lock().unwrap_or_else(PoisonError::into_inner);
    let place = brokers.iter().position(|one| one.0 == kind).unwrap_or_else(|| {
        brokers.push((kind, Broker::start_with(kind).map_err(|error| error.to_string())));
        brokers.len() - 1
    });
    match &brokers[place].1 {
        Ok(broker) => broker.bootstrap(),
        Err(error) => panic!("this test needs a broker: {error}"),
    }
}

/// What [`shared`] is; `None` where it was given by its address, and is held for a Kafka that does
/// everything right.
///
/// # Panics
///
/// As [`Kind::chosen`].
#[track_caller]
pub fn shared_kind() -> Option<Kind> {
    std::env::var_os("DOWNHAUL_KAFKA_BROKERS").is_none().then(Kind::chosen)
}

/// Whether [`shared`] is a stand-in that cannot do a thing: a declared skip.
///
/// # Panics
///
/// As [`Kind::chosen`].
#[track_caller]
pub fn shared_lacks(gap: Gap) -> bool {
    shared_kind().is_some_and(|kind| kind.lacks(gap))
}

/// Tells `cargo xtask test` that the running test met a broker.
pub(super) fn record_use() {
    ledger::record("DOWNHAUL_KAFKA_LEDGER");
}
