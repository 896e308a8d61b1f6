//! Waiting for a level: one waker in the tree and, where time alone can end the node, one timer.

use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use crate::clock::Moment;
use crate::context::Level;
use crate::node::Node;
use crate::timer::Timer;

/// A place in the line of those who wait for a level of one node, which is handed in at each call.
/// Nothing is registered and no timer is armed before the first pending poll. Whoever had one
/// [leaves](Self::leave) in the end.
pub(crate) struct Place {
    level: Level,
    key: Option<usize>,
    timer: Timer,
}

impl Place {
    pub(crate) fn new(level: Level) -> Self {
        Self { level, key: None, timer: Timer::new() }
    }

    pub(crate) fn poll_reached(&mut self, node: &Arc<Node>, cx: &mut TaskContext<'_>) -> Poll<()> {
        // The clock is read at the first poll, and then when the timer says so.
        if self.key.is_none() && node.level() >= self.level {
            return Poll::Ready(());
        }
        loop {
            self.key = Some(node.register(self.key, cx.waker()));
            // The tree's invariant 4: register first, look again afterwards.
            if node.is_untouched() {
                return Poll::Pending;
            }
            let (level, due) = node.outlook();
            if level >= self.level {
                return Poll::Ready(());
            }
            if due == Moment::NEVER {
                return Poll::Pending;
            }
            ready!(self.timer.poll(due, cx));
            if node.level() >= self.level {
                return Poll::Ready(());
            }
        }
    }

    pub(crate) fn leave(&self, node: &Node) {
        if let Some(key) = self.key {
            node.unregister(key);
        }
    }
}

/// Waits on one node for one level.
pub(crate) struct Wait<'a> {
    node: &'a Arc<Node>,
    place: Place,
}

impl<'a> Wait<'a> {
    pub(crate) fn new(node: &'a Arc<Node>, level: Level) -> Self {
        Self { node, place: Place::new(level) }
    }

    pub(crate) fn poll_reached(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.place.poll_reached(self.node, cx)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.place.leave(self.node);
    }
}
