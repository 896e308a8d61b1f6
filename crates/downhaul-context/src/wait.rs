//! Waiting for a level: one waker in the tree and, where time alone can end the node, one timer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use tokio::time::{Sleep, sleep_until};

use crate::clock::Moment;
use crate::context::Level;
use crate::node::Node;

/// A place in the line of those who wait for a level of one node, which is handed in at each call.
/// Nothing is registered and no timer is armed before the first pending poll. Whoever had one
/// [leaves](Self::leave) in the end.
pub(crate) struct Place {
    level: Level,
    key: Option<usize>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Place {
    pub(crate) fn new(level: Level) -> Self {
        Self { level, key: None, timer: None }
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
            // The level comes last: a drain that sets a time is the end of a wait for it, and wakes
            // all others.
            let due = node.due();
            if node.told_level() >= self.level {
                return Poll::Ready(());
            }
            if due == Moment::NEVER {
                return Poll::Pending;
            }
            ready!(self.poll_timer(due, cx));
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

    fn poll_timer(&mut self, due: Moment, cx: &mut TaskContext<'_>) -> Poll<()> {
        let Some(due) = due.instant() else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx)
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
