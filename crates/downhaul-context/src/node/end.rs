//! How a node ends or begins to drain, and how its end is found.

use std::cell::LazyCell;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::cause::{Cause, Reason};
use crate::clock::Moment;
use crate::node::state::{Drain, Fate};
use crate::node::{DRAINING, ENDED, Node, TIMED_BELOW};
use crate::sync::Ordering;

type Site = &'static Location<'static>;

impl Node {
    /// Ends the node and wakes all who wait on it or below it. Returns whether this call did it.
    pub(crate) fn end(self: &Arc<Self>, reason: Reason, site: Site) -> bool {
        let is_timed_below = self.has_noted(TIMED_BELOW);
        let mut at = Moment::START;
        let is_live = self.is_surely_live_by(|above| above.is_told() || above.is_known_over());
        if is_timed_below || !is_live {
            let clock = LazyCell::new(Moment::now);
            // Invariant 1: an end that came before this one is recorded first.
            if self.is_over() || self.cause_at(|| *clock).is_some() {
                self.call_back();
                return false;
            }
            // Invariant 7: what is below compares only with times of its own.
            at = if is_timed_below { *clock } else { at };
        }
        self.end_with(Cause::told(reason, at, site, self.path()))
    }

    /// Whether this node or an ancestor has been ended. The cause is left where it is.
    ///
    /// What was found is kept: who takes an ended chain down from its top would else walk up all of
    /// it at each node.
    fn is_over(&self) -> bool {
        let is_over = self.lineage().any(|node| node.has(ENDED) || node.is_known_over());
        if is_over {
            self.known_over.store(true, Ordering::Release);
        }
        is_over
    }

    fn is_known_over(&self) -> bool {
        self.known_over.load(Ordering::Acquire)
    }

    /// As [`end`](Self::end), for one that has looked for an earlier end.
    pub(super) fn end_with(self: &Arc<Self>, cause: Cause) -> bool {
        let mut state = self.lock();
        if state.fate.end().is_some() {
            return false;
        }
        state.fate.set_end(cause);
        self.raise(ENDED, &mut state);
        self.notify(state);
        true
    }

    /// Begins to drain, or shortens the grace of a drain that has begun, here or above. Returns
    /// whether this call began it.
    pub(crate) fn drain(self: &Arc<Self>, grace: Duration, reason: Reason, site: Site) -> bool {
        // Invariant 7: before the clock is read.
        self.raise_timed_below();
        let now = Moment::now();
        if self.cause_at(|| now).is_some() {
            self.call_back();
            return false;
        }
        // The first cause wins, as it does at the end.
        let known = self.drain_cause();
        let is_first = known.is_none();
        let cause = known.unwrap_or_else(|| Cause::told(reason, now, site, self.path()));
        self.drain_until(now.after(grace), now, cause) && is_first
    }

    /// As [`drain`](Self::drain), for one that has looked for an earlier end.
    pub(super) fn drain_until(
        self: &Arc<Self>,
        until: Moment,
        began: Moment,
        cause: Cause,
    ) -> bool {
        self.raise_timed_below();
        let mut state = self.lock();
        let began = match &mut state.fate {
            Fate::Ended(_) => return false,
            Fate::Draining(drain) => {
                drain.until = drain.until.min(until);
                false
            }
            Fate::Open { since } => {
                let drain = Drain { cause, began, until, since: *since, end: None };
                state.fate = Fate::Draining(Box::new(drain));
                true
            }
        };
        self.raise(DRAINING, &mut state);
        self.notify(state);
        began
    }

    /// Why the node has ended, if it has: by its own canceller, an ancestor's, a deadline or a
    /// drain's grace.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.cause_at(Moment::now)
    }

    pub(super) fn cause_at(&self, now: impl FnOnce() -> Moment) -> Option<Cause> {
        if self.is_surely_live() { None } else { self.cause_by(now) }
    }

    /// Keeps what time has brought by the clock of this runtime alone, here and where that makes it
    /// drain.
    pub(crate) fn keep_by_clock(&self) {
        self.cause_by(Moment::now);
        self.untold_by().for_each(|other| other.keep_by_clock());
    }

    fn cause_by(&self, now: impl FnOnce() -> Moment) -> Option<Cause> {
        if self.has(ENDED)
            && let Some(cause) = self.lock().fate.end()
        {
            return Some(cause.clone());
        }
        self.find_end(now).map(|cause| self.record(cause))
    }

    /// Keeps an end that was found, not told; or the one that somebody else has kept meanwhile.
    fn record(&self, found: Cause) -> Cause {
        let mut state = self.lock();
        if let Some(cause) = state.fate.end() {
            return cause.clone();
        }
        state.fate.set_end(found.clone());
        self.raise(ENDED, &mut state);
        found
    }

    /// Why the node began to drain, or the nearest of its ancestors that did.
    pub(crate) fn drain_cause(&self) -> Option<Cause> {
        let drains = |node: &Self| node.lock().fate.drain().map(|drain| drain.cause.clone());
        let told = self.lineage().filter(|node| node.has(DRAINING)).find_map(drains);
        told.or_else(|| self.untold_drain_cause())
    }

    /// The next moment at which time alone ends the node.
    pub(crate) fn due(&self) -> Moment {
        self.deadline.min(self.grace_ends())
    }

    /// When the first grace of those that reach the node is over.
    pub(crate) fn grace_ends(&self) -> Moment {
        let draining = self.lineage().filter(|node| node.has(DRAINING));
        let graces = draining.filter_map(|node| node.lock().fate.drain().map(|drain| drain.until));
        graces.fold(Moment::NEVER, Moment::min)
    }

    /// The earliest end that is not yet recorded in this node, if it has come.
    fn find_end(&self, now: impl FnOnce() -> Moment) -> Option<Cause> {
        let (mut due, mut drained, mut over) = (self.deadline, None, false);
        for node in self.lineage().filter(|node| node.has(DRAINING | ENDED)) {
            let state = node.lock();
            if let Some(cause) = state.fate.end() {
                if cause.at() <= due {
                    return Some(cause.clone());
                }
                // What time alone brought came before it. By invariant 1, no earlier record is
                // further up.
                over = true;
                break;
            }
            if let Some(drain) = state.fate.drain().filter(|drain| drain.until < due) {
                (due, drained) = (drain.until, Some(drain.cause_of_end()));
            }
        }
        // The clock is read last, and not for what is recorded.
        let now = now();
        let over = over || due.has_come(now);
        over.then(|| drained.unwrap_or_else(|| self.cause_of_deadline(now)))
    }

    fn cause_of_deadline(&self, now: Moment) -> Cause {
        let due = self.deadline;
        let owner = self.lineage().take_while(|node| node.deadline == due).last().unwrap_or(self);
        if let Some(other) = owner.merged_with().filter(|other| other.deadline == due)
            && let Some(cause) = other.cause_at(|| now)
        {
            return cause;
        }
        if owner.is_shielded()
            && let Some(cause) = owner.drain_cause()
        {
            let since = owner.lock().fate.since().unwrap_or(due);
            let began = cause.at().max(since);
            return Cause::drain_grace_over(due, due.since(began), cause);
        }
        let since = owner.lock().fate.since().filter(|since| *since <= due).unwrap_or(due);
        Cause::deadline(due, due.since(since), now.since(since), owner.site, owner.path())
    }
}
