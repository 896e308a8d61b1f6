//! What the crate promises, on real sockets and with raw bytes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bodies;
mod budgets;
mod connections;
mod context_layer;
mod departures;
mod draining;
mod events;
#[cfg(feature = "idempotency")]
mod idempotency;
#[cfg(feature = "idempotency")]
mod idempotency_stores;
mod interop;
mod lifecycle;
mod nesting;
mod problems;
mod route_limits;
mod routing;
mod set_timeout;
mod streams;
mod strictness;
mod support;
