//! One queue: what is ready, what is held back, and how much is out.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::message::Message;

/// How many messages a queue holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueDepth {
    /// Waiting to be delivered.
    pub ready: usize,
    /// Held back until their time.
    pub delayed: usize,
    /// Delivered and not yet settled.
    pub unsettled: usize,
}

/// A message in a queue.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) message: Message,
    pub(super) redelivered: bool,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    ready: VecDeque<Stored>,
    delayed: BinaryHeap<Reverse<Delayed>>,
    arrivals: u64,
    pub(super) unsettled: usize,
    /// Told when a message becomes ready or is held back, and when links are cut.
    pub(super) news: Arc<Notify>,
}

impl Queue {
    pub(super) fn push(&mut self, message: Message, due: Option<Instant>) {
        let stored = Stored { message, redelivered: false };
        match due {
            None => self.ready.push_back(stored),
            Some(due) => {
                self.arrivals += 1;
                self.delayed.push(Reverse(Delayed { due, arrival: self.arrivals, stored }));
            }
        }
        self.news.notify_waiters();
    }

    /// Puts a message back to the front, where it came from.
    pub(super) fn put_back(&mut self, mut stored: Stored) {
        stored.redelivered = true;
        self.unsettled -= 1;
        self.ready.push_front(stored);
        self.news.notify_waiters();
    }

    /// Takes the next message that is ready now.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Stored> {
        while self.next_due().is_some_and(|due| due <= now) {
            self.ready.extend(self.delayed.pop().map(|Reverse(delayed)| delayed.stored));
        }
        let stored = self.ready.pop_front()?;
        self.unsettled += 1;
        Some(stored)
    }

    /// When the next message that is held back is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.delayed.peek().map(|Reverse(delayed)| delayed.due)
    }

    pub(super) fn depth(&self) -> QueueDepth {
        let (ready, delayed) = (self.ready.len(), self.delayed.len());
        QueueDepth { ready, delayed, unsettled: self.unsettled }
    }

    pub(super) fn ready(&self) -> impl Iterator<Item = &Message> {
        self.ready.iter().map(|stored| &stored.message)
    }
}

/// A message that is held back; ordered by when it is due, then by when it came.
#[derive(Debug)]
struct Delayed {
    due: Instant,
    arrival: u64,
    stored: Stored,
}

impl Delayed {
    fn key(&self) -> (Instant, u64) {
        (self.due, self.arrival)
    }
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Delayed {}

impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}
