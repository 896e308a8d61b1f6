//! The cancel tree.
//!
//! # Invariants
//!
//! 1. `ended` is written once. Whoever writes it has first looked for an earlier end: an
//!    ancestor's, a deadline's or that of a drain's grace. So the first cause wins, also where
//!    nobody was waiting when it came.
//! 2. `marks` are what others may know of a node, and none is ever taken back. ENDED is raised when
//!    `ended` is written, DRAINING when `drain` is; neither field is read before its mark is seen.
//!    So all who look agree, and a lineage without marks is live.
//! 3. A node links to its parent when somebody first waits on it, or on a descendant. A node on
//!    which nobody waits takes no lock, its ancestors' ends are found by walking up.
//! 4. A waiter raises WATCHED, registers, does the same for each link the whole way up, and only
//!    then looks at the level. A canceller raises its mark and only then, if it found WATCHED,
//!    collects the links. The marks of a node are one atomic and its links have one lock, so one of
//!    them sees the other.
//! 5. No waker is run, cloned or dropped and no node is dropped while a lock is held. At most one
//!    lock is held at a time.
//! 6. Ending and dropping walk with a queue or a loop, never by recursion.
//!
//! `tests/it/model.rs` checks the first of them, `tests/loom.rs` the fourth.

mod links;
mod wake;

use std::borrow::Cow;
use std::fmt;
use std::iter;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::cause::{Cause, Reason};
use crate::context::Level;
use crate::node::links::Links;
use crate::sync::{AtomicU8, AtomicU64, AtomicUsize, Mutex, OnceLock, Ordering};

/// Draining has begun.
const DRAINING: u8 = 1;
/// The end has come.
const ENDED: u8 = 2;
/// Somebody waits, or has waited, on this node or below it.
const WATCHED: u8 = 4;
/// A deadline is set, here or above. Unlike the others, it is there from the start or never.
const TIMED: u8 = 8;

/// Instead of the key of a node that its parent does not know.
const UNLINKED: usize = usize::MAX;

/// A deadline that a node sets itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnDeadline {
    pub(crate) at: Instant,
    pub(crate) since: Instant,
}

/// What is fixed when a node is made.
struct Origin {
    label: Option<Cow<'static, str>>,
    site: &'static Location<'static>,
    /// The earliest of the own deadline and the ancestors'.
    deadline: Option<Instant>,
    /// When the deadline was set. Only where this node's own is the effective one.
    since: Option<Instant>,
}

/// One lifetime; see the invariants above.
pub(crate) struct Node {
    /// None also below a node that never ends: there is nothing to inherit from it.
    parent: Option<Arc<Self>>,
    origin: Origin,
    /// Whether it has no canceller, no deadline and no parent.
    eternal: bool,
    marks: AtomicU8,
    ended: OnceLock<Cause>,
    drain: OnceLock<Box<Drain>>,
    /// The key of this node in its parent's links. Set once, under the parent's lock.
    link: AtomicUsize,
    links: Mutex<Links>,
}

/// Draining began at `cause.at` and ends the node `grace_ns` later. The grace can only shrink.
struct Drain {
    cause: Cause,
    grace_ns: AtomicU64,
}

impl Node {
    /// A node that never ends.
    #[track_caller]
    pub(crate) fn eternal() -> Arc<Self> {
        let origin = Origin { label: None, site: Location::caller(), deadline: None, since: None };
        Self::new(None, origin, true)
    }

    pub(crate) fn root(site: &'static Location<'static>) -> Arc<Self> {
        Self::new(None, Origin { label: None, site, deadline: None, since: None }, false)
    }

    pub(crate) fn child(
        parent: &Arc<Self>,
        label: Option<Cow<'static, str>>,
        own: Option<OwnDeadline>,
        site: &'static Location<'static>,
    ) -> Arc<Self> {
        let own = own.filter(|own| parent.origin.deadline.is_none_or(|at| own.at < at));
        let deadline = own.map(|own| own.at).or(parent.origin.deadline);
        let origin = Origin { label, site, deadline, since: own.map(|own| own.since) };
        Self::new((!parent.eternal).then(|| Arc::clone(parent)), origin, false)
    }

    fn new(parent: Option<Arc<Self>>, origin: Origin, eternal: bool) -> Arc<Self> {
        let marks = AtomicU8::new(if origin.deadline.is_some() { TIMED } else { 0 });
        // Not `Arc::new`: this way the node is made in its place, not on the stack to be copied.
        Arc::new_cyclic(|_| Self {
            parent,
            origin,
            eternal,
            marks,
            ended: OnceLock::new(),
            drain: OnceLock::new(),
            link: AtomicUsize::new(UNLINKED),
            links: Mutex::default(),
        })
    }

    pub(crate) fn site(&self) -> &'static Location<'static> {
        self.origin.site
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.origin.deadline
    }

    /// How far the node has come.
    #[inline]
    pub(crate) fn level(&self) -> Level {
        if self.is_untouched() { Level::Live } else { self.level_now() }
    }

    /// The level of a node that time or somebody has touched, or may have.
    fn level_now(&self) -> Level {
        if self.recorded_end().is_some() {
            Level::Done
        } else if self.drains().next().is_some() {
            Level::Draining
        } else {
            Level::Live
        }
    }

    /// The level, and the next moment at which time alone changes it.
    #[inline]
    pub(crate) fn outlook(&self) -> (Level, Option<Instant>) {
        if self.is_untouched() { (Level::Live, None) } else { (self.level_now(), self.due()) }
    }

    /// Why the node has ended, if it has: by its own canceller, an ancestor's, a deadline or a
    /// drain's grace.
    #[inline]
    pub(crate) fn ended(&self) -> Option<&Cause> {
        if self.is_untouched() { None } else { self.recorded_end() }
    }

    /// The end, recorded in this node if it was found above it.
    #[inline(never)]
    fn recorded_end(&self) -> Option<&Cause> {
        self.own_end().or_else(|| self.find_end().map(|cause| self.record(cause)))
    }

    pub(crate) fn drain_cause(&self) -> Option<Cause> {
        self.drains().next().map(|drain| drain.cause.clone())
    }

    /// The next moment at which time alone ends the node.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.timed_end().map(|(at, _)| at)
    }

    /// Ends the node and wakes all who wait on it or below it. Returns whether this call did it.
    pub(crate) fn end(self: &Arc<Self>, reason: Reason, site: &'static Location<'static>) -> bool {
        // Invariant 1: an end that came before this one is recorded first.
        if self.ended().is_some() {
            return false;
        }
        let cause = Cause::told(reason, Instant::now(), site, self.path());
        let won = self.ended.set(cause).is_ok();
        // Also where another call won, which may not have come to its mark yet: after this one
        // returns, the node has ended.
        let watched = self.raise(ENDED) & WATCHED != 0;
        if won && watched {
            self.notify();
        }
        won
    }

    /// Begins to drain, or shortens the grace of a drain that has begun. Returns whether this call
    /// began it.
    pub(crate) fn drain(
        self: &Arc<Self>,
        grace: Duration,
        reason: Reason,
        site: &'static Location<'static>,
    ) -> bool {
        if self.ended().is_some() {
            return false;
        }
        let now = Instant::now();
        let mut began = false;
        let drain = self.drain.get_or_init(|| {
            began = true;
            let cause = Cause::told(reason, now, site, self.path());
            Box::new(Drain { cause, grace_ns: AtomicU64::new(u64::MAX) })
        });
        let since_began = now.saturating_duration_since(drain.cause.at);
        drain.shorten(since_began.saturating_add(grace));
        if self.raise(DRAINING) & WATCHED != 0 {
            self.notify();
        }
        began
    }

    /// The labels from the root to here.
    pub(crate) fn path(&self) -> String {
        let mut labels: Vec<&str> =
            self.lineage().filter_map(|node| node.origin.label.as_deref()).collect();
        labels.reverse();
        labels.join(" > ")
    }

    /// This node and its ancestors, nearest first.
    fn lineage(&self) -> impl Iterator<Item = &Self> {
        iter::successors(Some(self), |node| node.parent.as_deref())
    }

    /// The drains that reach this node, nearest first.
    fn drains(&self) -> impl Iterator<Item = &Drain> {
        self.lineage().filter_map(Self::own_drain)
    }

    /// The earliest end that is not yet recorded in this node.
    fn find_end(&self) -> Option<Cause> {
        // The nearest record is the earliest: it was written after a look at all above it
        // (invariant 1).
        let inherited = self.lineage().find_map(|node| node.own_end());
        let Some((due, drain)) = self.timed_end() else { return inherited.cloned() };
        if let Some(cause) = inherited.filter(|cause| cause.at <= due) {
            return Some(cause.clone());
        }
        let now = Instant::now();
        let over = inherited.is_some() || now >= due;
        over.then(|| match drain {
            Some(drain) => drain.cause_of_end(due),
            None => self.cause_of_deadline(due, now),
        })
    }

    /// The earliest end that time alone brings, with the drain that does or None for the deadline.
    ///
    /// Both at once, since a grace may shrink between two looks.
    fn timed_end(&self) -> Option<(Instant, Option<&Drain>)> {
        let graces = self.drains().filter_map(|drain| Some((drain.ends_at()?, Some(drain))));
        let deadline = self.origin.deadline.map(|at| (at, None));
        graces.chain(deadline).min_by_key(|(at, _)| *at)
    }

    fn cause_of_deadline(&self, due: Instant, now: Instant) -> Cause {
        let owner = self.lineage().find(|node| node.origin.since.is_some()).unwrap_or(self);
        let since = owner.origin.since.unwrap_or(due);
        let budget = due.saturating_duration_since(since);
        let elapsed = now.saturating_duration_since(since);
        Cause::deadline(due, budget, elapsed, owner.origin.site, owner.path())
    }

    /// Whether nothing has come over this node and nothing will unless somebody is told: the
    /// common case, found in one short walk and without a look at the clock.
    #[inline]
    fn is_untouched(&self) -> bool {
        let mut node = self;
        loop {
            if node.has(TIMED | DRAINING | ENDED) {
                return false;
            }
            let Some(parent) = &node.parent else { return true };
            node = parent;
        }
    }

    fn own_end(&self) -> Option<&Cause> {
        self.has(ENDED).then(|| self.ended.get()).flatten()
    }

    fn own_drain(&self) -> Option<&Drain> {
        self.has(DRAINING).then(|| self.drain.get()).flatten().map(Box::as_ref)
    }

    /// Keeps an end that was found, not told; or the one that somebody else has kept meanwhile.
    fn record(&self, cause: Cause) -> &Cause {
        let cause = self.ended.get_or_init(|| cause);
        self.raise(ENDED);
        cause
    }

    #[inline]
    fn has(&self, mark: u8) -> bool {
        self.marks.load(Ordering::Acquire) & mark != 0
    }

    /// Adds `mark` and returns the marks that were there.
    fn raise(&self, mark: u8) -> u8 {
        self.marks.fetch_or(mark, Ordering::AcqRel)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Invariant 6: a long chain is taken apart link by link.
        let mut next = self.leave();
        while let Some(parent) = next {
            next = Arc::into_inner(parent).and_then(|mut node| node.leave());
        }
    }
}

impl Drain {
    fn ends_at(&self) -> Option<Instant> {
        self.cause.at.checked_add(Duration::from_nanos(self.grace_ns.load(Ordering::Acquire)))
    }

    fn cause_of_end(&self, due: Instant) -> Cause {
        let grace = due.saturating_duration_since(self.cause.at);
        Cause::drain_grace_over(due, grace, self.cause.clone())
    }

    fn shorten(&self, grace: Duration) {
        let nanos = u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX);
        self.grace_ns.fetch_min(nanos, Ordering::AcqRel);
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("path", &self.path()).finish_non_exhaustive()
    }
}
