//! What must hold whatever a client sends; run by libFuzzer and, over its corpus, by a test.

pub(crate) mod head;
pub(crate) mod path;
pub(crate) mod query;
