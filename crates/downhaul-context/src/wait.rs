//! Waiting for a level: one waker in the tree and, where time alone can end the node, one timer.

use std::panic::{AssertUnwindSafe, catch_unwind};
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
    key: Option<u32>,
    timer: Timer,
    makes_do: bool,
    /// Whether it has given up on time: see [`make_do`](Self::make_do).
    is_timeless: bool,
}

impl Place {
    pub(crate) fn new(level: Level) -> Self {
        Self { level, key: None, timer: Timer::new(), makes_do: false, is_timeless: false }
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
            let (level, mut due) = node.outlook();
            if level >= self.level {
                return Poll::Ready(());
            }
            if self.level == Level::Draining {
                due = due.min(node.drains_at());
            }
            if due == Moment::NEVER {
                return Poll::Pending;
            }
            ready!(self.poll_timer(due, cx));
            // Kept in the node, so that all find it: the clock of the timer may be another one than
            // that by which the deadline was set.
            node.keep_by_clock();
            if node.level() >= self.level {
                return Poll::Ready(());
            }
        }
    }

    /// From now on it makes do without a timer, and waits for what others do alone, once there is
    /// none to be had. Else it panics.
    pub(crate) fn make_do(&mut self) {
        self.makes_do = true;
    }

    fn poll_timer(&mut self, due: Moment, cx: &mut TaskContext<'_>) -> Poll<()> {
        if self.is_timeless {
            return Poll::Pending;
        }
        if !self.makes_do {
            return self.timer.poll(due, cx);
        }
        // That a runtime has no timer tokio says by a panic.
        match catch_unwind(AssertUnwindSafe(|| self.timer.try_poll(due, cx))) {
            Ok(Ok(polled)) => polled,
            Ok(Err(_)) | Err(_) => {
                // Not to be tried again: a runtime that is shut down wakes who tries.
                self.is_timeless = true;
                Poll::Pending
            }
        }
    }

    pub(crate) fn leave(&mut self, node: &Node) {
        if let Some(key) = self.key.take() {
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
