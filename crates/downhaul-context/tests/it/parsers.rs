//! What libFuzzer looks for without end, here for a second: see `fuzz`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

#[path = "../../fuzz/checks/mod.rs"]
mod checks;
#[path = "../../fuzz/corpus.rs"]
mod corpus;

fn run(name: &str, check: fn(&[u8])) {
    corpus::run(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name), check);
}

#[test]
fn request_ids_are_taken_as_they_are_or_not_at_all() {
    run("request_id", checks::request_id::check);
}

#[test]
fn positions_in_traces_are_taken_as_they_are_or_not_at_all() {
    run("trace_context", checks::trace_context::check);
}

#[test]
fn budgets_are_read_as_they_are_meant_and_written_as_no_more() {
    run("budget", checks::budget::check);
}

#[test]
fn whatever_comes_over_the_wire_is_taken_or_counted() {
    run("extract", checks::extract::check);
}
