//! [`unique`]: names that nobody else uses.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A name that no other test uses, for a queue, a topic or a group: `orders-7f3a…`.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{:016x}", random())
}

/// Random enough to tell nodes apart: std seeds each `RandomState` differently, per process too.
pub(crate) fn random() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}
