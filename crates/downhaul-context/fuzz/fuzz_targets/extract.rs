//! Runs `checks/extract.rs` on whatever libFuzzer makes up.

#![no_main]

#[path = "../checks/extract.rs"]
mod extract;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| extract::check(bytes));
