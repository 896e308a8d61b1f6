//! [`Derive`]: a child in the making.

use std::panic::Location;
use std::time::Duration;

use tokio::time::Instant;

use crate::canceller::Canceller;
use crate::clock::Moment;
use crate::context::Context;
use crate::label::Label;
use crate::node::{Extras, Node, OwnDeadline};

/// A child in the making; see [`Context::derive`].
#[derive(Debug)]
#[must_use = "call `build` to get the child"]
pub struct Derive<'a> {
    parent: &'a Context,
    label: Option<Label>,
    deadline: Option<OwnDeadline>,
    observed: bool,
    site: &'static Location<'static>,
}

impl<'a> Derive<'a> {
    pub(crate) fn new(parent: &'a Context, site: &'static Location<'static>) -> Self {
        Self { parent, label: None, deadline: None, observed: false, site }
    }

    /// Names the child in causes, in [`Context::path`] and in reports. Use low cardinality:
    /// `db.query`, `GET /users/{id}`.
    pub fn label(mut self, label: impl Into<Label>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Ends the child after `budget`, or at the parent's deadline if that is sooner.
    pub fn timeout(mut self, budget: Duration) -> Self {
        self.deadline = Some(OwnDeadline::since(Instant::now(), budget));
        self
    }

    /// As [`timeout`](Self::timeout), with a budget that counts from `since`: for what has begun a
    /// while ago, such as a message that was waiting.
    pub fn timeout_since(mut self, since: Instant, budget: Duration) -> Self {
        self.deadline = Some(OwnDeadline::since(since, budget));
        self
    }

    /// Ends the child at `at`, or at the parent's deadline if that is sooner.
    pub fn deadline(mut self, at: Instant) -> Self {
        self.deadline = Some(OwnDeadline::at(Moment::from(at)));
        self
    }

    /// Lists the child and all that is derived from it in [snapshots](Context::snapshot), from
    /// birth and with their ages.
    ///
    /// Each derivation below it then takes its parent's lock and reads the clock.
    pub fn observed(mut self) -> Self {
        self.observed = true;
        self
    }

    /// Makes the child and its canceller.
    ///
    /// Takes no lock. A child of a parent that drains or has ended is born draining or ended, with
    /// the same cause.
    pub fn build(self) -> (Context, Canceller) {
        let labelled = self.label.map(Extras::labelled);
        let extras = match self.observed {
            true => Some(labelled.unwrap_or_default().observed()),
            false => labelled,
        };
        let extras = extras.map(Box::new);
        let node = Node::child(&self.parent.node, extras, self.deadline, self.site);
        Context::with_canceller(node, self.parent.values.clone())
    }
}
