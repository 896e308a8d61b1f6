//! What the engine, the publisher and the brokers in memory do that the conformance suite cannot
//! see: time, lost links and brokers that fail on purpose.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is how a fault shows")]

mod engine;
mod log;
mod memory;
mod publisher;
mod scripted;
