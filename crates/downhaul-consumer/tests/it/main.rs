//! What the engine, the publisher and the memory broker do that the conformance suite cannot see:
//! time, lost links and brokers that fail on purpose.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is how a fault shows")]

#[cfg(feature = "sqlite")]
mod database;
mod engine;
mod inbox;
mod memory;
#[cfg(feature = "sqlite")]
mod outbox;
mod publisher;
mod scripted;
