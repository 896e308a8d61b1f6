//! Waiting for a level: one waker in the tree and, where time alone can end the node, one timer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::context::Level;
use crate::node::Node;

/// Waits on one node for one level. Nothing is registered and no timer is armed before the first
/// pending poll.
pub(crate) struct Wait<'a> {
    node: &'a Arc<Node>,
    level: Level,
    key: Option<usize>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<'a> Wait<'a> {
    pub(crate) fn new(node: &'a Arc<Node>, level: Level) -> Self {
        Self { node, level, key: None, timer: None }
    }

    pub(crate) fn poll_reached(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        loop {
            if self.node.level() >= self.level {
                return Poll::Ready(());
            }
            self.key = Some(self.node.register(self.key, cx.waker()));
            // The tree's invariant 4: register first, look again afterwards.
            let (level, due) = self.node.outlook();
            if level >= self.level {
                return Poll::Ready(());
            }
            let Some(due) = due else { return Poll::Pending };
            // The clock has come to the due time, or it was moved: look again.
            ready!(self.poll_timer(due, cx));
        }
    }

    fn poll_timer(&mut self, due: Instant, cx: &mut TaskContext<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        timer.as_mut().poll(cx)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.node.unregister(key);
        }
    }
}
