//! Runs `checks/head.rs` on whatever libFuzzer makes up.

#![no_main]

#[path = "../checks/head.rs"]
mod head;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| head::check(bytes));
