//! The example `orders` as a stranger runs it: a process, its ports, its signals, its log lines.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is how a fault shows")]

mod bad_input;
mod broker_loss;
mod control;
mod kafka;
mod metrics;
mod one_id;
mod otlp;
mod otlp_tls;
mod service;
mod signals;
mod systemd;
mod telemetry;
