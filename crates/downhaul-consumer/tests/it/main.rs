//! What the engine, the publisher and the brokers in memory do that the conformance suite cannot
//! see: time, lost links and brokers that fail on purpose.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is how a fault shows")]

mod away;
mod batches;
mod bounds;
mod claims;
mod closed_ways;
#[cfg(feature = "sqlite")]
mod database;
mod dedupe;
mod emitting;
mod endless;
mod engine;
mod failing;
mod flow;
mod inbox;
mod kill_switch;
mod letters;
mod lifecycle;
mod log;
mod lost_links;
mod memory;
mod observed;
mod ordering;
#[cfg(feature = "sqlite")]
mod outbox;
mod outcomes;
mod publisher;
mod receipts;
mod releasing;
mod scripted;
mod status;
mod support;
#[cfg(feature = "testing")]
mod testing;
mod told;
mod traced;
mod values;
#[cfg(feature = "testing")]
mod waking;
