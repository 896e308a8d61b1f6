//! What the crate promises, on real sockets and with raw bytes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod abuse;
mod baseline;
mod bodies;
mod budgets;
mod calls;
mod connections;
mod context_layer;
mod departures;
mod draining;
#[cfg(feature = "tls")]
mod encrypted;
mod events;
mod frames;
mod grpc;
#[cfg(feature = "idempotency")]
mod idempotency;
#[cfg(feature = "idempotency")]
mod idempotency_stores;
mod interop;
mod lifecycle;
mod listening;
mod malformed;
mod multiplexed;
mod nesting;
mod parsers;
mod problems;
mod route_limits;
mod routing;
mod set_timeout;
mod slow;
mod snapshots;
mod streams;
mod strictness;
mod support;
mod traced;
mod upgrades;
mod uploads;
