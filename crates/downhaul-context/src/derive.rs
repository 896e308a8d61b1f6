//! [`Derive`]: a child in the making.

use std::borrow::Cow;
use std::panic::Location;
use std::time::Duration;

use tokio::time::Instant;

use crate::canceller::Canceller;
use crate::context::Context;
use crate::node::{Node, OwnDeadline};

/// A child in the making; see [`Context::derive`].
#[derive(Debug)]
#[must_use = "call `build` to get the child"]
pub struct Derive<'a> {
    parent: &'a Context,
    label: Option<Cow<'static, str>>,
    deadline: Option<OwnDeadline>,
    site: &'static Location<'static>,
}

impl<'a> Derive<'a> {
    pub(crate) fn new(parent: &'a Context, site: &'static Location<'static>) -> Self {
        Self { parent, label: None, deadline: None, site }
    }

    /// Names the child in causes, in [`Context::path`] and in reports. Use low cardinality:
    /// `db.query`, `GET /users/{id}`.
    pub fn label(mut self, label: impl Into<Cow<'static, str>>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Ends the child after `budget`, or at the parent's deadline if that is sooner.
    pub fn timeout(mut self, budget: Duration) -> Self {
        let now = Instant::now();
        self.deadline = now.checked_add(budget).map(|at| OwnDeadline { at, since: now });
        self
    }

    /// Ends the child at `at`, or at the parent's deadline if that is sooner.
    pub fn deadline(mut self, at: Instant) -> Self {
        self.deadline = Some(OwnDeadline { at, since: Instant::now() });
        self
    }

    /// Makes the child and its canceller.
    ///
    /// Takes no lock. A child of a parent that drains or has ended is born draining or ended, with
    /// the same cause.
    pub fn build(self) -> (Context, Canceller) {
        let node = Node::child(&self.parent.node, self.label, self.deadline, self.site);
        Context::with_canceller(node, self.parent.values.clone())
    }
}
