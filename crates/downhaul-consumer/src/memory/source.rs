//! Consuming from memory.

use std::sync::Arc;

use async_trait::async_trait;
use downhaul_context::Context;
use tokio::time::{Instant, sleep_until};

use crate::broker::{Delivery, Event, Row, Settled, Source, Token, Verdict};
use crate::error::BrokerError;
use crate::memory::queue::{Queue, Stored};
use crate::memory::state::{Epoch, Shared};
use crate::subscription::Subscription;

/// How many deliveries are given out at a time, so that who takes them can do something else in
/// between.
const AT_A_TIME: usize = 1_024;

pub(super) struct MemorySource {
    shared: Arc<Shared>,
    epoch: Epoch,
    queue: Arc<Queue>,
    prefetch: usize,
    /// By the numbers of their tokens, which count up from zero.
    unsettled: Row<Stored>,
    next: u64,
}

impl MemorySource {
    pub(super) fn open(
        shared: Arc<Shared>,
        subscription: &Subscription,
    ) -> Result<Self, BrokerError> {
        let epoch = shared.open()?;
        let queue = shared.declare(subscription);
        let prefetch = usize::from(subscription.prefetch());
        Ok(Self { shared, epoch, queue, prefetch, unsettled: Row::new(), next: 0 })
    }

    /// Moves what is ready into `events`, as far as the prefetch allows. Returns when a message is
    /// due that is held back.
    fn fill(&mut self, events: &mut Vec<Event>) -> Result<Option<Instant>, BrokerError> {
        self.shared.check(self.epoch)?;
        let room = self.prefetch.saturating_sub(self.unsettled.len());
        if room == 0 {
            return Ok(None);
        }
        let (unsettled, next) = (&mut self.unsettled, &mut self.next);
        Ok(self.queue.pop(room.min(AT_A_TIME), |stored| {
            events.push(deliver(*next, &stored));
            unsettled.insert(*next, stored);
            *next += 1;
        }))
    }
}

fn deliver(number: u64, stored: &Stored) -> Event {
    let delivery = Delivery::new(Token::new(number), stored.message.clone());
    Event::Delivery(delivery.with_topic(stored.topic.clone()).redelivered(stored.redeliveries))
}

#[async_trait]
impl Source for MemorySource {
    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), BrokerError> {
        let had = events.len();
        loop {
            let queue = Arc::clone(&self.queue);
            let told = queue.news();
            tokio::pin!(told);
            // Listen before looking, so that nothing comes unheard in between.
            told.as_mut().enable();
            let next_due = self.fill(events)?;
            if events.len() > had {
                return Ok(());
            }
            match next_due {
                None => told.await,
                Some(due) => {
                    tokio::select! {
                        () = told => {}
                        () = sleep_until(due) => {}
                    }
                }
            }
        }
    }

    async fn settle(&mut self, batch: &[(Token, Verdict)]) -> Result<Settled, BrokerError> {
        self.shared.check(self.epoch)?;
        let (mut done, mut released, mut lost) = (0, Vec::new(), Vec::new());
        for &(token, verdict) in batch {
            match (self.unsettled.remove(token.number()), verdict) {
                (None, _) => lost.push(token),
                (Some(_), Verdict::Ack) => done += 1,
                (Some(stored), Verdict::Release) => released.push(stored),
            }
        }
        self.queue.settle(done, released.into_iter());
        Ok(Settled::confirmed().with_lost(lost))
    }

    async fn set_prefetch(&mut self, prefetch: u16) -> Result<(), BrokerError> {
        self.shared.check(self.epoch)?;
        self.prefetch = usize::from(prefetch);
        Ok(())
    }

    async fn close(self: Box<Self>, _ctx: &Context) -> Result<(), BrokerError> {
        Ok(())
    }
}

/// What is unsettled when a source goes comes again.
impl Drop for MemorySource {
    fn drop(&mut self) {
        self.queue.settle(0, self.unsettled.drain());
    }
}
