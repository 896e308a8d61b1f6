//! What must hold whatever a parser is given; run by libFuzzer and, over its corpus, by a test.

pub(crate) mod budget;
pub(crate) mod extract;
pub(crate) mod request_id;
pub(crate) mod trace_context;
