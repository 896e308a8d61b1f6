//! The cancel tree.
//!
//! # Invariants
//!
//! 1. A node's end is written once, under its lock. Whoever writes it has first looked for an
//!    earlier one: an ancestor's, a deadline's or that of a drain's grace. So the first cause wins,
//!    also where nobody was waiting when it came, and the nearest record on the way up is the
//!    earliest.
//! 2. `marks` are what others may know of a node without its lock, and none is ever taken back.
//!    They are raised under the lock, with what they announce. So all who look agree, and a lineage
//!    without ENDED or DRAINING is live. `notes` are raised without the lock.
//! 3. A node links to its parent when somebody first waits on it, or on a descendant. A node on
//!    which nobody waits takes no lock, its ancestors' ends are found by walking up. A rooted node
//!    is linked, and so are all its ancestors.
//! 4. A waiter registers, links the whole way up, and only then looks at the level. A canceller
//!    raises its mark and only then collects the waiters, of one node after the other. Both take
//!    each node's lock, so one of them sees the other.
//! 5. No waker is run, cloned or dropped and no node is dropped while a lock is held. At most one
//!    lock is held at a time.
//! 6. Ending and dropping walk with a queue or a loop, never by recursion.
//! 7. Who cancels reads the clock only where a time is compared with it: below a deadline or a
//!    drain (TIMED, DRAINING), or above one (TIMED_BELOW, which is raised before it can matter).
//!    Only above one is the time written down. An end without a time is before all times: when it
//!    came, none of those that could be compared with it had.
//!
//! `tests/it/model.rs` checks the first of them, `tests/loom.rs` the fourth.

mod bond;
mod end;
mod links;
mod look;
mod state;
mod wake;

use std::fmt;
use std::iter;
use std::panic::Location;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::{Moment, is_steady};
use crate::context::Level;
use crate::label::Label;
use crate::node::state::State;
use crate::registration::Registration;
use crate::sync::{AtomicBool, AtomicU8, AtomicU32, Mutex, MutexGuard, Ordering};

/// A mark: draining has begun.
const DRAINING: u8 = 1;
/// A mark: the end has come.
const ENDED: u8 = 2;
/// A mark: a deadline is set, here or above. It is there from the start or never.
const TIMED: u8 = 4;
/// A mark: it has no canceller, no deadline and no parent. It is there from the start or never.
const ETERNAL: u8 = 8;
/// A mark: it and all below it are linked from birth, so that snapshots list them. It is there from
/// the start or never.
const OBSERVED: u8 = 16;
/// A mark: its deadline goes by a clock that nobody moves. It is there from the start or never.
const STEADY: u8 = 32;
/// A mark: time alone may make it drain, of which nobody tells, since it, an ancestor or what one
/// of them is merged with is shielded. It is there from the start or never.
const UNTOLD: u8 = 64;

/// A note: a deadline is set or a drain has begun, here or below.
const TIMED_BELOW: u8 = 1;
/// A note: the same, and all its ancestors know as well.
const TIMED_BELOW_UP: u8 = 2;
/// A note: there are or were callbacks at its end, which have no handle to it.
const CALLS_BACK: u8 = 4;

/// Instead of the key of a node that its parent does not know.
const UNLINKED: u32 = u32::MAX;

/// A deadline that a node sets itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnDeadline {
    at: Moment,
    since: Moment,
    is_steady: bool,
}

impl OwnDeadline {
    pub(crate) fn since(since: Instant, budget: Duration) -> Self {
        let begun = Moment::from(since);
        let at = match begun {
            // All that is long ago is this moment, from which a budget would last too long.
            Moment::START => since.checked_add(budget).map_or(Moment::NEVER, Moment::from),
            _ => begun.after(budget),
        };
        Self { at, since: begun, is_steady: is_steady() }
    }

    pub(crate) fn at(at: Moment) -> Self {
        Self { at, since: Moment::now(), is_steady: is_steady() }
    }
}

/// What few nodes have. The others do without the room for it.
#[derive(Default)]
pub(crate) struct Extras {
    pub(crate) label: Option<Label>,
    /// Another parent, whose deadline is the node's too.
    merged: Option<Arc<Node>>,
    /// What the node outlives, in place of a parent.
    shielded: Option<Arc<Node>>,
    /// What tells the node of an end that does not come from its parent. Set once, right after the
    /// node was made.
    bond: OnceLock<Registration>,
    /// When it was made, where snapshots are to tell its age.
    born: Option<Moment>,
}

impl Extras {
    pub(crate) fn labelled(label: Label) -> Self {
        Self { label: Some(label), ..Self::default() }
    }

    pub(crate) fn observed(mut self) -> Self {
        self.born = Some(Moment::now());
        self
    }
}

/// One lifetime; see the invariants above.
pub(crate) struct Node {
    /// None also below a node that never ends: there is nothing to inherit from it.
    parent: Option<Arc<Self>>,
    /// The earliest of the own deadline and the ancestors'.
    deadline: Moment,
    /// Where in the code it was made.
    site: &'static Location<'static>,
    extras: Option<Box<Extras>>,
    marks: AtomicU8,
    notes: AtomicU8,
    /// Whether it is linked to its parent, its parent to its own, and so on.
    is_rooted: AtomicBool,
    /// Whether somebody has found that it or an ancestor has ended.
    known_over: AtomicBool,
    /// The key of this node in its parent's links. Set once, under the parent's lock.
    link: AtomicU32,
    state: Mutex<State>,
}

impl Node {
    /// A node that never ends.
    #[track_caller]
    pub(crate) fn eternal() -> Arc<Self> {
        Self::new(None, Location::caller(), None, None, ETERNAL)
    }

    pub(crate) fn tree(site: &'static Location<'static>) -> Arc<Self> {
        Self::new(None, site, None, None, 0)
    }

    pub(crate) fn child(
        parent: &Arc<Self>,
        extras: Option<Box<Extras>>,
        own: Option<OwnDeadline>,
        site: &'static Location<'static>,
    ) -> Arc<Self> {
        let own = own.filter(|own| own.at < parent.deadline);
        if parent.has(OBSERVED) || extras.as_ref().is_some_and(|extras| extras.born.is_some()) {
            return Self::observed_child(parent, extras, own, site);
        }
        Self::new(Self::heritable(parent), site, extras, own, 0)
    }

    #[cold]
    fn observed_child(
        parent: &Arc<Self>,
        extras: Option<Box<Extras>>,
        own: Option<OwnDeadline>,
        site: &'static Location<'static>,
    ) -> Arc<Self> {
        let extras = extras.map_or_else(Extras::default, |extras| *extras).observed();
        let node = Self::new(Self::heritable(parent), site, Some(Box::new(extras)), own, OBSERVED);
        node.link_all_the_way();
        node
    }

    fn heritable(parent: &Arc<Self>) -> Option<Arc<Self>> {
        (!parent.has(ETERNAL)).then(|| Arc::clone(parent))
    }

    #[inline]
    fn new(
        parent: Option<Arc<Self>>,
        site: &'static Location<'static>,
        extras: Option<Box<Extras>>,
        own: Option<OwnDeadline>,
        marks: u8,
    ) -> Arc<Self> {
        if own.is_some() {
            // Before the node can be seen: invariant 7.
            parent.iter().for_each(Self::raise_timed_below);
        }
        let inherited = parent.as_ref().map_or(Moment::NEVER, |parent| parent.deadline);
        let deadline = own.map_or(inherited, |own| own.at);
        let timed = Self::marks_of_time(parent.as_deref(), own);
        let untold = match extras.as_ref().is_some_and(|extras| extras.may_drain_untold()) {
            true => UNTOLD,
            false => parent.as_ref().map_or(0, |parent| parent.marks() & UNTOLD),
        };
        Arc::new(Self {
            parent,
            deadline,
            site,
            extras,
            marks: AtomicU8::new(marks | timed | untold),
            notes: AtomicU8::new(0),
            is_rooted: AtomicBool::new(false),
            known_over: AtomicBool::new(false),
            link: AtomicU32::new(UNLINKED),
            state: Mutex::new(State::open(own.map_or(Moment::NEVER, |own| own.since))),
        })
    }

    #[inline]
    fn marks_of_time(parent: Option<&Self>, own: Option<OwnDeadline>) -> u8 {
        let above = parent.map_or(0, |parent| parent.marks() & (TIMED | STEADY));
        match own {
            Some(own) if own.is_steady && above != TIMED => TIMED | STEADY,
            Some(_) => TIMED,
            None => above,
        }
    }

    pub(crate) fn site(&self) -> &'static Location<'static> {
        self.site
    }

    pub(crate) fn deadline(&self) -> Moment {
        self.deadline
    }

    /// How far the node has come.
    #[inline]
    pub(crate) fn level(&self) -> Level {
        if self.is_surely_live() { Level::Live } else { self.level_now() }
    }

    /// How far it has come by what others did, whatever the time; and when time alone ends it.
    pub(crate) fn outlook(&self) -> (Level, Moment) {
        match self.lineage().fold(0, |marks, node| marks | node.marks()) {
            marks if marks & ENDED != 0 => (Level::Done, self.deadline),
            marks if marks & DRAINING != 0 => (Level::Draining, self.due()),
            _ => (Level::Live, self.deadline),
        }
    }

    fn level_now(&self) -> Level {
        match self.outlook() {
            (Level::Done, _) => Level::Done,
            (_, due) if due.has_come(Moment::now()) => Level::Done,
            (Level::Live, _) if self.drains_untold() => Level::Draining,
            (level, _) => level,
        }
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        !self.is_surely_live() && self.level_now() == Level::Done
    }

    /// The labels from the root to here.
    pub(crate) fn path(&self) -> String {
        if self.lineage().all(|node| node.extras.is_none()) {
            return String::new();
        }
        let mut labels: Vec<&str> = self.lineage().filter_map(Self::label).collect();
        labels.reverse();
        labels.join(" > ")
    }

    fn label(&self) -> Option<&str> {
        self.extras.as_ref()?.label.as_deref()
    }

    /// This node and its ancestors, nearest first.
    fn lineage(&self) -> impl Iterator<Item = &Self> {
        iter::successors(Some(self), |node| node.parent.as_deref())
    }

    /// Whether nothing has come over this node and nothing will unless somebody is told: the
    /// common case, found in one short walk and without a look at the clock.
    #[inline]
    pub(crate) fn is_untouched(&self) -> bool {
        !self.has(TIMED | UNTOLD | DRAINING | ENDED) && self.is_untold_above(Self::is_told)
    }

    /// Whether it is live and a precise clock need not be asked: the common case of one with a
    /// deadline.
    #[inline]
    pub(crate) fn is_surely_live(&self) -> bool {
        self.is_surely_live_by(Self::is_told)
    }

    /// As [`is_surely_live`](Self::is_surely_live), by what `is_told` says of each ancestor.
    #[inline]
    fn is_surely_live_by(&self, is_told: impl Fn(&Self) -> bool) -> bool {
        match self.marks() & (TIMED | UNTOLD | DRAINING | ENDED) {
            0 => self.is_untold_above(is_told),
            TIMED => self.is_surely_in_time() && self.is_untold_above(is_told),
            _ => false,
        }
    }

    /// Whether somebody has ended it, or made it drain.
    #[inline]
    fn is_told(&self) -> bool {
        self.has(DRAINING | ENDED)
    }

    /// Not inlined, so that the look at what has no deadline is.
    #[inline(never)]
    fn is_surely_in_time(&self) -> bool {
        self.has(STEADY) && self.deadline.is_far()
    }

    #[inline]
    fn is_untold_above(&self, is_told: impl Fn(&Self) -> bool) -> bool {
        let mut node = self;
        while let Some(parent) = &node.parent {
            if is_told(parent) {
                return false;
            }
            node = parent;
        }
        true
    }

    /// Tells this node and its ancestors that there is a time below them.
    fn raise_timed_below(self: &Arc<Self>) {
        self.all_the_way_up(
            |node| node.has_noted(TIMED_BELOW_UP),
            |node| node.note(TIMED_BELOW),
            |node| node.note(TIMED_BELOW_UP),
        );
    }

    /// Takes a step at this node and each of its ancestors, unless that `is_done`. Then it is
    /// marked as `done` on all of them, and never on one above which a step is still to be taken.
    fn all_the_way_up(
        self: &Arc<Self>,
        is_done: impl Fn(&Self) -> bool,
        step: impl Fn(&Arc<Self>),
        done: impl Fn(&Self),
    ) {
        let lineage = || iter::successors(Some(self), |node| node.parent.as_ref());
        lineage().take_while(|node| !is_done(node)).for_each(step);
        lineage().take_while(|node| !is_done(node)).for_each(|node| done(node));
    }

    #[inline]
    fn has(&self, marks: u8) -> bool {
        self.marks() & marks != 0
    }

    #[inline]
    fn marks(&self) -> u8 {
        self.marks.load(Ordering::Acquire)
    }

    /// Under the lock: nobody else does it at the same time.
    fn raise(&self, mark: u8, _state: &mut State) {
        self.marks.store(self.marks.load(Ordering::Relaxed) | mark, Ordering::Release);
    }

    fn has_noted(&self, notes: u8) -> bool {
        self.notes.load(Ordering::Acquire) & notes != 0
    }

    fn note(&self, note: u8) {
        if !self.has_noted(note) {
            self.notes.fetch_or(note, Ordering::AcqRel);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock, so a poisoned one is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("path", &self.path()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(downhaul_loom), target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn a_node_and_its_counts_take_96_bytes() {
        assert_eq!(size_of::<Node>() + 2 * size_of::<usize>(), 96);
    }
}
