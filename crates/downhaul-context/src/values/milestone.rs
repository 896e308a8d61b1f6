//! [`Milestone`]: a place in a chain that gets an index when it is worth one.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use crate::values::Values;
use crate::values::index::Index;

/// How many searches come by before there is an index. Those of one request are mostly fewer, and
/// those that come to what all requests share are soon more.
const PATIENCE: u32 = 64;

/// A place in a chain that gets an index when it is worth one.
pub(super) struct Milestone {
    /// Before the values, so that it is dropped before them.
    index: OnceLock<Index>,
    /// How many searches came by, as far as it matters: threads may overwrite each other's count.
    searches: AtomicU32,
    pub(super) values: Values,
}

impl Milestone {
    pub(super) fn at(values: Values) -> Arc<Self> {
        Arc::new(Self { index: OnceLock::new(), searches: AtomicU32::new(0), values })
    }

    #[inline]
    pub(super) fn index(&self) -> Option<&Index> {
        self.index.get()
    }

    /// The index, which is made when it is time. Counts the search.
    pub(super) fn index_in_time(&self) -> Option<&Index> {
        if let Some(index) = self.index.get() {
            return Some(index);
        }
        let searches = self.searches.load(Ordering::Relaxed) + 1;
        self.searches.store(searches, Ordering::Relaxed);
        (searches >= PATIENCE).then(|| self.index.get_or_init(|| Index::of(self.values.links())))
    }
}
