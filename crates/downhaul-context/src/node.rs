//! The cancel tree.
//!
//! # Invariants
//!
//! 1. `ended` is written once. Whoever writes it has first looked for an earlier end: an
//!    ancestor's, a deadline's or that of a drain's grace. So the first cause wins, also where
//!    nobody was waiting when it came.
//! 2. A node links to its parent when somebody first waits on it, or on a descendant. A node on
//!    which nobody waits takes no lock, its ancestors' ends are found by walking up.
//! 3. A waiter registers, links the whole way up, and only then looks at the level. A canceller
//!    writes the level and only then collects the links. Both go through the same locks, so one of
//!    them sees the other.
//! 4. No waker runs and no node is dropped while a lock is held. At most one lock is held at a
//!    time.
//! 5. Ending and dropping walk with a queue or a loop, never by recursion.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::iter;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;

use slab::Slab;
use tokio::time::Instant;

use crate::cause::{Cause, Reason};
use crate::context::Level;

/// A deadline that a node set itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnDeadline {
    pub(crate) at: Instant,
    pub(crate) since: Instant,
}

/// One lifetime; see the invariants above.
pub(crate) struct Node {
    parent: Option<Arc<Self>>,
    label: Option<Cow<'static, str>>,
    site: &'static Location<'static>,
    /// The earliest of the own deadline and the ancestors'. Fixed when the node is made.
    deadline: Option<Instant>,
    /// Set only where this node's own deadline is the effective one.
    own_deadline: Option<OwnDeadline>,
    ended: OnceLock<Cause>,
    drain: OnceLock<Drain>,
    /// The key of this node in its parent's links; set once, when linked.
    link: OnceLock<usize>,
    links: Mutex<Links>,
}

/// Draining began at `cause.at` and ends the node `grace_ns` later. The grace can only shrink.
struct Drain {
    cause: Cause,
    grace_ns: AtomicU64,
}

/// Who wants to hear of a change of level.
#[derive(Default)]
struct Links {
    /// A slot a waiter; empty between a wake and the next poll. Kept, so that keys stay the
    /// waiters' own.
    waiters: Slab<Option<Waker>>,
    children: Slab<Weak<Node>>,
}

impl Node {
    #[track_caller]
    pub(crate) fn root() -> Self {
        Self::new(None, None, Location::caller())
    }

    pub(crate) fn child(
        parent: &Arc<Self>,
        label: Option<Cow<'static, str>>,
        own: Option<OwnDeadline>,
        site: &'static Location<'static>,
    ) -> Self {
        let own_deadline = own.filter(|own| parent.deadline.is_none_or(|at| own.at < at));
        let mut node = Self::new(Some(Arc::clone(parent)), label, site);
        node.deadline = own_deadline.map(|own| own.at).or(parent.deadline);
        node.own_deadline = own_deadline;
        node
    }

    fn new(
        parent: Option<Arc<Self>>,
        label: Option<Cow<'static, str>>,
        site: &'static Location<'static>,
    ) -> Self {
        Self {
            parent,
            label,
            site,
            deadline: None,
            own_deadline: None,
            ended: OnceLock::new(),
            drain: OnceLock::new(),
            link: OnceLock::new(),
            links: Mutex::default(),
        }
    }

    pub(crate) fn site(&self) -> &'static Location<'static> {
        self.site
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(crate) fn level(&self) -> Level {
        if self.ended().is_some() {
            Level::Done
        } else if self.lineage().any(|node| node.drain.get().is_some()) {
            Level::Draining
        } else {
            Level::Live
        }
    }

    /// Why the node has ended, if it has: by its own canceller, an ancestor's, a deadline or a
    /// drain's grace.
    pub(crate) fn ended(&self) -> Option<&Cause> {
        if let Some(cause) = self.ended.get() {
            return Some(cause);
        }
        let cause = self.find_end()?;
        Some(self.ended.get_or_init(|| cause))
    }

    pub(crate) fn drain_cause(&self) -> Option<Cause> {
        self.lineage().find_map(|node| node.drain.get()).map(|drain| drain.cause.clone())
    }

    /// The next moment at which time alone ends the node.
    pub(crate) fn due(&self) -> Option<Instant> {
        let graces = self.lineage().filter_map(|node| node.drain.get()).filter_map(Drain::ends_at);
        graces.chain(self.deadline).min()
    }

    /// Ends the node and wakes all who wait on it or below it. Returns whether this call did it.
    pub(crate) fn end(self: &Arc<Self>, reason: Reason, site: &'static Location<'static>) -> bool {
        // Invariant 1: an end that came before this one is recorded first.
        if self.ended().is_some() {
            return false;
        }
        let won = self.ended.set(Cause::told(reason, Instant::now(), site, self.path())).is_ok();
        if won {
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
            Drain { cause, grace_ns: AtomicU64::new(u64::MAX) }
        });
        let since_began = now.saturating_duration_since(drain.cause.at);
        drain.shorten(since_began.saturating_add(grace));
        self.notify();
        began
    }

    /// The labels from the root to here.
    pub(crate) fn path(&self) -> String {
        let mut labels: Vec<&str> =
            self.lineage().filter_map(|node| node.label.as_deref()).collect();
        labels.reverse();
        labels.join(" > ")
    }

    /// This node and its ancestors, nearest first.
    fn lineage(&self) -> impl Iterator<Item = &Self> {
        iter::successors(Some(self), |node| node.parent.as_deref())
    }

    /// The earliest end that is not yet recorded in this node.
    fn find_end(&self) -> Option<Cause> {
        // The nearest record is the earliest: it was written after a look at all above it
        // (invariant 1).
        let inherited = self.lineage().find_map(|node| node.ended.get());
        let Some(due) = self.due() else { return inherited.cloned() };
        match inherited {
            Some(cause) if cause.at <= due => Some(cause.clone()),
            Some(_) => Some(self.timed_end(due, Instant::now())),
            None => {
                let now = Instant::now();
                (now >= due).then(|| self.timed_end(due, now))
            }
        }
    }

    /// The cause of an end that time alone brought at `due`.
    fn timed_end(&self, due: Instant, now: Instant) -> Cause {
        let drained = self
            .lineage()
            .filter_map(|node| node.drain.get())
            .find(|drain| drain.ends_at() == Some(due));
        if let Some(drain) = drained {
            return Cause::drain_grace_over(due, drain.grace(), drain.cause.clone());
        }
        let owner = self.lineage().find(|node| node.own_deadline.is_some()).unwrap_or(self);
        let since = owner.own_deadline.map_or(due, |own| own.since);
        let budget = due.saturating_duration_since(since);
        let elapsed = now.saturating_duration_since(since);
        Cause::deadline(due, budget, elapsed, owner.site, owner.path())
    }

    /// Wakes all who wait on this node or below it: parents first, in the order in which they came.
    fn notify(self: &Arc<Self>) {
        let mut queue = VecDeque::from([Arc::clone(self)]);
        while let Some(node) = queue.pop_front() {
            let waiters: Vec<Waker> = {
                let mut links = node.links();
                queue.extend(links.children.iter().filter_map(|(_, child)| child.upgrade()));
                links.waiters.iter_mut().filter_map(|(_, slot)| slot.take()).collect()
            };
            // Invariant 4: outside the lock.
            waiters.into_iter().for_each(Waker::wake);
        }
    }

    /// Registers `waker` to be woken once at the next change of level. The caller looks at the
    /// level afterwards.
    pub(crate) fn register(self: &Arc<Self>, key: Option<usize>, waker: &Waker) -> usize {
        let key = self.links().put_waiter(key, waker);
        // Invariant 3: the whole way up, even where a node is linked already, since whoever linked
        // it may not have come to its ancestors yet.
        for node in iter::successors(Some(self), |node| node.parent.as_ref()) {
            let Some(parent) = &node.parent else { break };
            node.link.get_or_init(|| parent.links().children.insert(Arc::downgrade(node)));
        }
        key
    }

    pub(crate) fn unregister(&self, key: usize) {
        let waker = self.links().waiters.try_remove(key);
        drop(waker);
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        // Nothing that can panic runs under the lock, so a poisoned one is still whole.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Invariant 5: a long chain is taken apart link by link.
        self.unlink();
        let mut next = self.parent.take();
        while let Some(parent) = next {
            next = Arc::into_inner(parent).and_then(|mut node| {
                node.unlink();
                node.parent.take()
            });
        }
    }
}

impl Node {
    fn unlink(&mut self) {
        if let (Some(key), Some(parent)) = (self.link.take(), &self.parent) {
            parent.links().children.try_remove(key);
        }
    }
}

impl Drain {
    fn grace(&self) -> Duration {
        Duration::from_nanos(self.grace_ns.load(Ordering::Acquire))
    }

    fn ends_at(&self) -> Option<Instant> {
        self.cause.at.checked_add(self.grace())
    }

    fn shorten(&self, grace: Duration) {
        let nanos = u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX);
        self.grace_ns.fetch_min(nanos, Ordering::AcqRel);
    }
}

impl Links {
    fn put_waiter(&mut self, key: Option<usize>, waker: &Waker) -> usize {
        match key.and_then(|key| self.waiters.get_mut(key).map(|slot| (key, slot))) {
            Some((key, slot)) => {
                match slot {
                    Some(known) => known.clone_from(waker),
                    None => *slot = Some(waker.clone()),
                }
                key
            }
            None => self.waiters.insert(Some(waker.clone())),
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("path", &self.path()).finish_non_exhaustive()
    }
}
