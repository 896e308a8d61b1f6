//! What the engine, the publisher and the memory broker do that the conformance suite cannot see:
//! time, lost links and brokers that fail on purpose.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is how a fault shows")]

mod batches;
mod engine;
mod failing;
mod flow;
mod lifecycle;
mod memory;
mod ordering;
mod publisher;
mod scripted;
mod support;
