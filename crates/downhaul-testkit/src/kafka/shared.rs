//! One broker for all tests of a process.

use std::sync::OnceLock;

use super::broker::Broker;
use super::gap::Gap;
use super::kind::Kind;
use crate::ledger;

/// Where a broker that all tests of this process share answers: `DOWNHAUL_KAFKA_BROKERS` if that is
/// set, else a private broker of the [chosen](Kind::chosen) kind that the first caller starts.
/// Tests keep apart by [`unique`](super::unique) names.
///
/// # Panics
///
/// If no broker can be had. A test that needs a broker fails without one; it is never skipped.
#[track_caller]
pub fn shared() -> String {
    record_use();
    std::env::var("DOWNHAUL_KAFKA_BROKERS").unwrap_or_else(|_| broker().bootstrap())
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

#[track_caller]
fn broker() -> &'static Broker {
    // Never dropped, as statics are: its watchdog ends it with the process.
    static BROKER: OnceLock<Result<Broker, String>> = OnceLock::new();
    match BROKER.get_or_init(|| Broker::start().map_err(|error| error.to_string())) {
        Ok(broker) => broker,
        Err(error) => panic!("this test needs a broker: {error}"),
    }
}

/// Tells `cargo xtask test` that the running test met a broker.
pub(super) fn record_use() {
    ledger::record("DOWNHAUL_KAFKA_LEDGER");
}
