//! One queue: what is ready, what is held back, and how much is out.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use crate::message::{Message, Name};

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
    /// Its place in the queue, which it keeps when it comes back.
    number: u64,
    pub(super) message: Message,
    pub(super) topic: Option<Name>,
    pub(super) redeliveries: u32,
}

/// A queue that sinks and sources share.
#[derive(Debug, Default)]
pub(super) struct Queue {
    content: Mutex<Content>,
    /// Told when the first message becomes ready or is held back, and when links are cut.
    news: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Content {
    ready: VecDeque<Stored>,
    delayed: BinaryHeap<Reverse<Delayed>>,
    arrivals: u64,
    unsettled: usize,
}

impl Queue {
    /// Takes a message, unless `most` are waiting already.
    pub(super) fn push(
        &self,
        message: Message,
        topic: Option<Name>,
        due: Option<Instant>,
        most: usize,
    ) -> bool {
        let mut content = self.lock();
        if content.ready.len() + content.delayed.len() >= most {
            return false;
        }
        content.arrivals += 1;
        let stored = Stored { number: content.arrivals, message, topic, redeliveries: 0 };
        // Whoever waits has seen an empty queue: more behind the first is no news.
        let is_news = content.ready.is_empty();
        match due {
            None => content.ready.push_back(stored),
            Some(due) => content.delayed.push(Reverse(Delayed { due, stored })),
        }
        drop(content);
        if is_news {
            self.news.notify_waiters();
        }
        true
    }

    /// Takes as many messages as are ready now, up to `most`, oldest first. If there are none, says
    /// when one is due that is held back.
    pub(super) fn pop(&self, most: usize, mut take: impl FnMut(Stored)) -> Option<Instant> {
        let mut content = self.ripened();
        let count = most.min(content.ready.len());
        content.unsettled += count;
        content.ready.drain(..count).for_each(&mut take);
        if count > 0 { None } else { content.next_due() }
    }

    /// Forgets messages that are done with, and puts others back where they were.
    pub(super) fn settle(&self, done: usize, released: impl DoubleEndedIterator<Item = Stored>) {
        let mut content = self.lock();
        content.unsettled -= done;
        let was_empty = content.ready.is_empty();
        content.put_back(released);
        let is_news = was_empty && !content.ready.is_empty();
        drop(content);
        if is_news {
            self.news.notify_waiters();
        }
    }

    /// Waits for news from the moment of this call on, once it is enabled.
    pub(super) fn news(&self) -> Notified<'_> {
        self.news.notified()
    }

    /// Wakes all who wait, to see that their link was cut.
    pub(super) fn wake(&self) {
        self.news.notify_waiters();
    }

    pub(super) fn depth(&self) -> QueueDepth {
        let content = self.ripened();
        let (ready, delayed) = (content.ready.len(), content.delayed.len());
        QueueDepth { ready, delayed, unsettled: content.unsettled }
    }

    pub(super) fn ready(&self) -> Vec<Message> {
        self.ripened().ready.iter().map(|stored| stored.message.clone()).collect()
    }

    /// The content, with all ready that is due.
    fn ripened(&self) -> MutexGuard<'_, Content> {
        let mut content = self.lock();
        if !content.delayed.is_empty() {
            content.ripen(Instant::now());
        }
        content
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    /// Puts messages where they were. Those that are older than one of them step aside meanwhile,
    /// so that it costs no more than to pass by them once, however many come back.
    fn put_back(&mut self, released: impl DoubleEndedIterator<Item = Stored>) {
        let mut aside: Vec<Stored> = Vec::new();
        // Backwards, so that nearly each finds its place at the very front.
        for mut stored in released.rev() {
            self.unsettled -= 1;
            stored.redeliveries = stored.redeliveries.saturating_add(1);
            while let Some(older) = self.ready.pop_front_if(|it| it.number < stored.number) {
                aside.push(older);
            }
            while let Some(newer) = aside.pop_if(|it| it.number > stored.number) {
                self.ready.push_front(newer);
            }
            self.ready.push_front(stored);
        }
        aside.into_iter().rev().for_each(|older| self.ready.push_front(older));
    }

    /// Makes ready what is due.
    fn ripen(&mut self, now: Instant) {
        while self.next_due().is_some_and(|due| due <= now) {
            let Some(Reverse(delayed)) = self.delayed.pop() else { return };
            self.arrivals += 1;
            self.ready.push_back(Stored { number: self.arrivals, ..delayed.stored });
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.delayed.peek().map(|Reverse(delayed)| delayed.due)
    }
}

/// A message that is held back; ordered by when it is due, then by when it came.
#[derive(Debug)]
struct Delayed {
    due: Instant,
    stored: Stored,
}

impl Delayed {
    fn key(&self) -> (Instant, u64) {
        (self.due, self.stored.number)
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
