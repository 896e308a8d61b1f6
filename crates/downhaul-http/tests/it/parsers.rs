//! What libFuzzer looks for without end, here for a second: see `fuzz`.

use std::path::Path;

#[path = "../../fuzz/checks/mod.rs"]
mod checks;
#[path = "../../../downhaul-context/fuzz/corpus.rs"]
mod corpus;

fn run(name: &str, check: fn(&[u8])) {
    corpus::run(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name), check);
}

#[test]
fn a_head_that_reaches_a_service_can_be_read_in_one_way() {
    run("head", checks::head::check);
}

#[test]
fn parameters_of_a_path_are_decoded_once() {
    run("path", checks::path::check);
}

#[test]
fn a_query_is_read_as_it_is_meant_or_a_400() {
    run("query", checks::query::check);
}
