//! What is RabbitMQ's own, against real nodes. What all brokers share is in the conformance suite.

#![allow(clippy::unwrap_used, reason = "what the tests share is test code as well")]

mod connecting;
mod consume;
mod delay;
#[cfg(feature = "tls")]
mod encrypted;
mod failure;
mod foreign;
mod held;
mod herd;
mod letters;
mod links;
mod message;
mod opening;
mod order;
mod passive;
mod poison;
mod publish;
mod races;
mod refused;
mod retries;
mod support;
mod topology;
