//! Runs `checks/budget.rs` on whatever libFuzzer makes up.

#![no_main]

#[path = "../checks/budget.rs"]
mod budget;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| budget::check(bytes));
