//! How a node ends with something that is not its parent: another node, or a future.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::cause::Cause;
use crate::clock::Moment;
use crate::context::Level;
use crate::listener::{Course, Foreign, Listener};
use crate::node::{Extras, Node, OwnDeadline, STEADY, TIMED, UNTOLD};
use crate::registration::Registration;

impl Extras {
    /// Whether time alone may make the node drain.
    pub(super) fn may_drain_untold(&self) -> bool {
        let by = |other: &Option<Arc<Node>>, marks| other.as_ref().is_some_and(|it| it.has(marks));
        by(&self.merged, UNTOLD) || by(&self.shielded, UNTOLD | TIMED)
    }
}

impl Node {
    /// A child of `parent` that is also one of `other`.
    pub(crate) fn merged(
        parent: &Arc<Self>,
        other: &Arc<Self>,
        site: &'static Location<'static>,
    ) -> Arc<Self> {
        let is_steady = other.has(STEADY);
        let own = OwnDeadline { at: other.deadline, since: Moment::now(), is_steady };
        let extras = Extras { merged: Some(Arc::clone(other)), ..Extras::default() };
        let node = Self::child(parent, Some(Box::new(extras)), Some(own), site);
        node.follow(other, Duration::ZERO);
        node
    }

    /// The other parent, if there is one.
    pub(super) fn merged_with(&self) -> Option<&Arc<Self>> {
        self.extras.as_ref()?.merged.as_ref()
    }

    /// By what it can drain though nobody tells it.
    fn untold(&self) -> impl Iterator<Item = &Extras> {
        let lineage = self.lineage().take_while(|node| node.has(UNTOLD));
        lineage.filter_map(|node| node.extras.as_deref())
    }

    pub(super) fn untold_by(&self) -> impl Iterator<Item = &Arc<Self>> {
        self.untold().flat_map(|extras| extras.merged.iter().chain(&extras.shielded))
    }

    /// Whether time alone has made it drain, if nobody has told it to.
    pub(super) fn drains_untold(&self) -> bool {
        self.untold_by().any(|other| other.level() > Level::Live)
    }

    /// Why that is.
    pub(super) fn untold_drain_cause(&self) -> Option<Cause> {
        self.untold().find_map(|extras| match &extras.shielded {
            Some(other) => other.cause().or_else(|| other.drain_cause()),
            None => extras.merged.as_ref()?.drain_cause(),
        })
    }

    pub(super) fn is_shielded(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.shielded.is_some())
    }

    /// When time alone makes the node drain: what it outlives or is merged with does so, or ends.
    pub(crate) fn drains_at(&self) -> Moment {
        let drains = self.untold_by().map(|other| other.due().min(other.drains_at()));
        drains.fold(Moment::NEVER, Moment::min)
    }

    /// A node that ends `slack` after `other`, and drains meanwhile.
    pub(crate) fn shielded(
        other: &Arc<Self>,
        slack: Duration,
        site: &'static Location<'static>,
    ) -> Arc<Self> {
        let since = Moment::now();
        let at = match other.deadline {
            Moment::NEVER => Moment::NEVER,
            deadline => deadline.max(since).after(slack),
        };
        let own = OwnDeadline { at, since, is_steady: false };
        let own = Some(own).filter(|own| own.at != Moment::NEVER);
        let extras = Extras { shielded: Some(Arc::clone(other)), ..Extras::default() };
        let node = Self::new(None, site, Some(Box::new(extras)), own, 0);
        node.follow(other, slack);
        node
    }

    /// A child of `parent` that also ends when `foreign` says so.
    pub(crate) fn foreign(
        parent: &Arc<Self>,
        foreign: Foreign,
        site: &'static Location<'static>,
    ) -> Arc<Self> {
        let node = Self::child(parent, Some(Box::default()), None, site);
        let bound = Arc::downgrade(&node);
        let listener = Listener::start(foreign, move |reason| {
            if let Some(node) = bound.upgrade() {
                node.end(reason, site);
            }
        });
        node.bind(Registration::new(listener));
        node
    }

    fn follow(self: &Arc<Self>, other: &Arc<Self>, slack: Duration) {
        // What time has ended is not told by itself.
        other.cause();
        let bound = Arc::downgrade(self);
        let listener = Listener::start(Course::of(other), move |other: Arc<Self>| {
            if let Some(node) = bound.upgrade() {
                node.come_after(&other, slack);
            }
        });
        self.bind(Registration::new(listener));
    }

    /// Does what `other` has done.
    fn come_after(self: &Arc<Self>, other: &Self, slack: Duration) {
        let now = Moment::now();
        // The tree's invariant 1.
        if self.cause_at(|| now).is_some() {
            return;
        }
        match (other.outlook().0, other.cause()) {
            // Invariant 7: what is timed below this node is not below the other.
            (Level::Done, Some(cause)) if slack.is_zero() => {
                self.end_with(cause.stamped(now));
            }
            (Level::Done, Some(cause)) => {
                self.drain_until(now.after(slack), now, cause);
            }
            _ => {
                let until = other.grace_ends().after(slack);
                if let Some(cause) = other.drain_cause() {
                    self.drain_until(until, now, cause);
                }
            }
        }
    }

    /// A node is bound once, by whoever makes it.
    fn bind(&self, bond: Registration) {
        if let Some(extras) = &self.extras {
            let _ = extras.bond.set(bond);
        }
    }
}
