//! What a snapshot tells of one node.

use std::sync::Arc;

use crate::cause::Cause;
use crate::clock::Moment;
use crate::context::Level;
use crate::node::{DRAINING, Node};
use crate::snapshot::SnapshotEntry;

/// What is seen at a node, and so below it: looking at a node does not walk up again.
#[derive(Clone)]
pub(crate) struct Seen {
    level: Level,
    cause: Option<Cause>,
    /// When time alone ends it.
    due: Moment,
}

impl Node {
    /// What is to be seen at the top of a snapshot.
    pub(crate) fn overview(&self) -> Seen {
        Seen { level: self.level(), cause: self.cause(), due: self.due() }
    }

    /// When the work began, as far as deadlines tell: when the one that is farthest up was set.
    pub(crate) fn begun(&self) -> Option<Moment> {
        let set = |node: &Self| node.lock().fate.since().filter(|since| *since != Moment::NEVER);
        self.lineage().filter_map(set).last()
    }

    /// What can be seen of this node below what was seen `above` it, and its children.
    pub(crate) fn look(&self, above: &Seen, now: Moment) -> (SnapshotEntry, Seen, Vec<Arc<Self>>) {
        let state = self.lock();
        let (waiters, children) = (state.links.waiters(), state.links.children());
        let grace = state.fate.drain().map_or(Moment::NEVER, |drain| drain.until);
        let end = state.fate.end().cloned();
        drop(state);
        let due = above.due.min(self.deadline).min(grace);
        let ended = end.or_else(|| above.cause.clone());
        let cause = ended.or_else(|| due.has_come(now).then(|| self.cause()).flatten());
        let level = match &cause {
            Some(_) => Level::Done,
            None if self.has(DRAINING) || self.drains_untold() => Level::Draining,
            None => above.level,
        };
        let entry = SnapshotEntry {
            depth: 0,
            label: self.label().map(str::to_owned),
            location: self.site,
            level,
            cause: cause.clone(),
            remaining: (due != Moment::NEVER).then(|| due.since(now)),
            age: self.extras.as_ref().and_then(|extras| extras.born).map(|born| now.since(born)),
            waiters,
        };
        (entry, Seen { level, cause, due }, children)
    }
}
