//! Runs `checks/request_id.rs` on whatever libFuzzer makes up.

#![no_main]

#[path = "../checks/request_id.rs"]
mod request_id;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| request_id::check(bytes));
