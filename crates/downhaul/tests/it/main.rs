//! What an app promises, seen from outside.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is how a fault shows")]

mod app;
mod control;
mod fixture;
