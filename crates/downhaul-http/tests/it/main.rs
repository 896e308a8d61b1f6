//! What the crate promises, on real sockets and with raw bytes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod abuse;
mod baseline;
mod bodies;
mod budgets;
mod connections;
mod context_layer;
mod departures;
mod draining;
mod frames;
mod interop;
mod lifecycle;
mod malformed;
mod multiplexed;
mod parsers;
mod route_limits;
mod routing;
mod streams;
mod strictness;
mod support;
mod uploads;
