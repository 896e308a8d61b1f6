//! Runs `checks/path.rs` on whatever libFuzzer makes up.

#![no_main]

#[path = "../checks/path.rs"]
mod path;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| path::check(bytes));
