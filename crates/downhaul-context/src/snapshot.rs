//! [`Snapshot`]: the part of a tree that is known below a context, at one moment.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::cause::Cause;
use crate::clock::Moment;
use crate::context::Level;
use crate::node::Node;
use crate::text::Plain;

/// What [`Context::snapshot`](crate::Context::snapshot) saw. Its `Display` has a line for each
/// context, indented by its depth.
#[derive(Clone, Debug)]
pub struct Snapshot {
    entries: Vec<SnapshotEntry>,
}

/// One context of a [`Snapshot`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SnapshotEntry {
    /// How far it is below the context of the snapshot, which is at 0.
    pub depth: usize,
    /// Its own label.
    pub label: Option<String>,
    /// Where in the code it was made.
    pub location: &'static Location<'static>,
    /// How far it has come.
    pub level: Level,
    /// Why it ended. One that has ended and is still listed is held by work that has not stopped.
    pub cause: Option<Cause>,
    /// The time left until its deadline or the end of its grace.
    pub remaining: Option<Duration>,
    /// How long ago it was made, if it is [observed](crate::Derive::observed).
    pub age: Option<Duration>,
    /// How many wait for it to drain or end.
    pub waiters: usize,
}

impl Snapshot {
    pub(crate) fn of(node: &Arc<Node>) -> Self {
        let now = Moment::now();
        let mut entries = Vec::new();
        // A stack, since a tree may be deeper than the thread's.
        let mut to_see = vec![(0, node.overview(), Arc::clone(node))];
        while let Some((depth, above, node)) = to_see.pop() {
            let (mut entry, seen, children) = node.look(&above, now);
            entry.depth = depth;
            entries.push(entry);
            to_see.extend(children.into_iter().rev().map(|child| (depth + 1, seen.clone(), child)));
        }
        Self { entries }
    }

    /// The contexts, each before its children, and these in the order in which they became known;
    /// but one may have the place of another that has gone.
    pub fn entries(&self) -> &[SnapshotEntry] {
        &self.entries
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let indent = |entry: &SnapshotEntry| "  ".repeat(entry.depth);
        self.entries.iter().try_for_each(|entry| writeln!(f, "{}{entry}", indent(entry)))
    }
}

/// `GET /orders: live, 12ms old, 4.9s left, 1 waiting, made at src/main.rs:7:9`
impl fmt::Display for SnapshotEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Live => "live",
            Level::Draining => "draining",
            Level::Done => "done",
        };
        write!(f, "{}: {level}", Plain(self.label.as_deref().unwrap_or("(no label)")))?;
        if let Some(age) = self.age {
            write!(f, ", {age:.0?} old")?;
        }
        if let Some(left) = self.remaining.filter(|_| self.level < Level::Done) {
            write!(f, ", {left:.0?} left")?;
        }
        if self.waiters > 0 {
            write!(f, ", {} waiting", self.waiters)?;
        }
        if let Some(cause) = &self.cause {
            write!(f, ", {cause}")?;
        }
        write!(f, ", made at {}", self.location)
    }
}
