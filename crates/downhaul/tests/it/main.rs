//! What an app promises, seen from outside.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is how a fault shows")]

mod after_run;
mod app;
mod capture;
mod components;
mod config;
mod control;
mod fixture;
mod forced;
mod handle;
mod http_server;
mod invariants;
mod lame_duck;
mod left_behind;
mod plan;
mod policies;
mod probes;
mod relay;
mod restarts;
mod rows;
#[cfg(feature = "stdout")]
mod sampled_only;
mod scripted;
mod testing;
