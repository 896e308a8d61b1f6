//! What an app promises, seen from outside.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is how a fault shows")]

mod app;
mod components;
mod config;
mod control;
mod fixture;
mod handle;
mod invariants;
mod lame_duck;
mod left_behind;
mod plan;
mod policies;
mod restarts;
mod scripted;
mod testing;
