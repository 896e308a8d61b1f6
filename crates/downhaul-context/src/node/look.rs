//! What a snapshot tells of one node.

use std::sync::Arc;

use crate::clock::Moment;
use crate::node::Node;
use crate::snapshot::SnapshotEntry;

impl Node {
    /// What can be seen of this node, and its children.
    pub(crate) fn look(&self, depth: usize, now: Moment) -> (SnapshotEntry, Vec<Arc<Self>>) {
        let (level, cause) = (self.level(), self.cause());
        let due = self.due();
        let born = self.extras.as_ref().and_then(|extras| extras.born);
        let state = self.lock();
        let (waiters, children) = (state.links.waiters(), state.links.children());
        drop(state);
        let entry = SnapshotEntry {
            depth,
            label: self.label().map(str::to_owned),
            location: self.site,
            level,
            cause,
            remaining: (due != Moment::NEVER).then(|| due.since(now)),
            age: born.map(|born| now.since(born)),
            waiters,
        };
        (entry, children)
    }
}
