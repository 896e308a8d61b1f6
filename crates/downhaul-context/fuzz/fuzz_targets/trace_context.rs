//! Runs `checks/trace_context.rs` on whatever libFuzzer makes up.

#![no_main]

#[path = "../checks/trace_context.rs"]
mod trace_context;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| trace_context::check(bytes));
