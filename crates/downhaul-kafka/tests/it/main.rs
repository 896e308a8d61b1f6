//! What is Kafka's own. What all brokers share is in the conformance suite.

#![allow(clippy::unwrap_used, reason = "what the tests share is test code as well")]

mod away;
mod backlog;
mod begins;
mod bytes;
mod capture;
mod churn;
mod delay;
mod errors;
mod going;
mod handshake;
mod heard;
mod lag;
mod membership;
mod offsets;
mod publish;
mod rebalance;
mod records;
mod secured;
mod shares;
mod support;
mod told;
