//! Consuming from memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use downhaul_context::Context;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::broker::{Delivery, Settled, Source, Token, Verdict};
use crate::error::BrokerError;
use crate::memory::queue::Stored;
use crate::memory::state::{Epoch, Popped, Shared};
use crate::subscription::Subscription;

pub(super) struct MemorySource {
    shared: Arc<Shared>,
    epoch: Epoch,
    queue: String,
    news: Arc<Notify>,
    prefetch: usize,
    intake: bool,
    /// What is out, in the order in which it was delivered.
    unsettled: BTreeMap<Token, Stored>,
    delivered: u64,
}

impl MemorySource {
    pub(super) fn open(
        shared: Arc<Shared>,
        subscription: &Subscription,
    ) -> Result<Self, BrokerError> {
        let epoch = shared.open()?;
        let news = shared.declare(subscription);
        Ok(Self {
            shared,
            epoch,
            queue: subscription.queue().to_owned(),
            news,
            prefetch: usize::from(subscription.prefetch()),
            intake: true,
            unsettled: BTreeMap::new(),
            delivered: 0,
        })
    }

    /// Moves what is ready into `deliveries`, as far as the prefetch allows. Returns when a message
    /// is due that is held back.
    fn fill(&mut self, deliveries: &mut Vec<Delivery>) -> Result<Option<Instant>, BrokerError> {
        loop {
            if !self.intake || self.unsettled.len() >= self.prefetch {
                self.shared.check(self.epoch)?;
                return Ok(None);
            }
            match self.shared.pop(self.epoch, &self.queue)? {
                Popped::Message(stored) => deliveries.push(self.deliver(stored)),
                Popped::Nothing { next_due } => return Ok(next_due),
            }
        }
    }

    fn deliver(&mut self, stored: Stored) -> Delivery {
        self.delivered += 1;
        let token = Token::new(self.delivered);
        let delivery = Delivery::new(token, stored.message.clone(), stored.redelivered);
        self.unsettled.insert(token, stored);
        delivery
    }
}

#[async_trait]
impl Source for MemorySource {
    async fn next(&mut self, deliveries: &mut Vec<Delivery>) -> Result<(), BrokerError> {
        let had = deliveries.len();
        loop {
            let news = Arc::clone(&self.news);
            let told = news.notified();
            tokio::pin!(told);
            // Listen before looking, so that nothing comes unheard in between.
            told.as_mut().enable();
            let next_due = self.fill(deliveries)?;
            if deliveries.len() > had {
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
        // Backwards, so that what is put back to the front stands there in its old order.
        let mut batch = batch.to_vec();
        batch.sort_by_key(|(token, _)| std::cmp::Reverse(*token));
        for (token, verdict) in batch {
            match (self.unsettled.remove(&token), verdict) {
                (None, _) => {}
                (Some(_), Verdict::Ack) => self.shared.forget(&self.queue),
                (Some(stored), Verdict::Release) => self.shared.put_back(&self.queue, stored),
            }
        }
        Ok(Settled::Confirmed)
    }

    async fn set_intake(&mut self, open: bool) -> Result<(), BrokerError> {
        self.shared.check(self.epoch)?;
        self.intake = open;
        Ok(())
    }

    async fn close(self: Box<Self>, _ctx: &Context) -> Result<(), BrokerError> {
        Ok(())
    }
}

/// What is unsettled when a source goes comes again.
impl Drop for MemorySource {
    fn drop(&mut self) {
        while let Some((_, stored)) = self.unsettled.pop_last() {
            self.shared.put_back(&self.queue, stored);
        }
    }
}
