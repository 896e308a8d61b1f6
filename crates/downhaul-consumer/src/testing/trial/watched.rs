//! What writes the journal: an observer around the consumer's own, and a broker that tells what
//! reaches it.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use downhaul_context::Context;
use tracing::Span;

use super::fate::Ending;
use super::journal::{Journal, What};
use crate::broker::{
    Broker, Capabilities, Event, HeldLanes, Settled, Sink, Source, Token, Verdict,
};
use crate::error::BrokerError;
use crate::handler::Meta;
use crate::memory::MemoryBroker;
use crate::observer::{MessageObserver, Processed, Published};
use crate::publish::{Outgoing, PublishOutcome, Receipt};
use crate::subscription::Subscription;

/// Tells of attempts.
#[derive(Debug)]
pub(super) struct Watching {
    inner: Arc<dyn MessageObserver>,
    journal: Arc<Journal>,
}

impl Watching {
    pub(super) fn new(inner: Arc<dyn MessageObserver>, journal: Arc<Journal>) -> Self {
        Self { inner, journal }
    }

    fn began(&self, meta: &Meta) {
        self.journal.note(meta.message.id(), What::Began { number: meta.attempt });
    }
}

impl MessageObserver for Watching {
    fn process(&self, ctx: Context, meta: &Meta) -> (Context, Span) {
        self.began(meta);
        self.inner.process(ctx, meta)
    }

    fn process_batch(&self, ctx: Context, batch: &[Meta]) -> (Context, Span) {
        batch.iter().for_each(|meta| self.began(meta));
        self.inner.process_batch(ctx, batch)
    }

    fn publish(&self, ctx: Context, outgoing: &Outgoing, system: &'static str) -> (Context, Span) {
        self.inner.publish(ctx, outgoing, system)
    }

    fn published(&self, publish: &Published<'_>) {
        self.inner.published(publish);
    }

    fn processed(&self, attempt: &Processed<'_>) {
        let (number, ending) = (attempt.meta.attempt, Ending::of(attempt.settlement));
        let (error, took) = (attempt.error.map(str::to_owned), attempt.took);
        let decided = What::Decided { number, ending, error, took };
        self.journal.note(attempt.meta.message.id(), decided);
        self.inner.processed(attempt);
    }
}

/// Tells of deliveries, verdicts and publishes, and takes messages that no queue wants.
#[derive(Debug)]
pub(super) struct WatchedBroker {
    inner: MemoryBroker,
    journal: Arc<Journal>,
}

impl WatchedBroker {
    pub(super) fn new(inner: MemoryBroker, journal: Arc<Journal>) -> Self {
        Self { inner, journal }
    }
}

#[async_trait]
impl Broker for WatchedBroker {
    fn system(&self) -> &'static str {
        self.inner.system()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn source(
        &self,
        ctx: &Context,
        subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        let inner = self.inner.source(ctx, subscription).await?;
        let (journal, ids) = (Arc::clone(&self.journal), HashMap::new());
        Ok(Box::new(WatchedSource { inner, journal, ids }))
    }

    async fn sink(&self, ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        let inner = self.inner.sink(ctx).await?;
        Ok(Arc::new(WatchedSink { inner, journal: Arc::clone(&self.journal) }))
    }

    fn retract(&self, delivery: Token) {
        self.inner.retract(delivery);
    }

    async fn close(&self, ctx: &Context) {
        self.inner.close(ctx).await;
    }
}

struct WatchedSource {
    inner: Box<dyn Source>,
    journal: Arc<Journal>,
    ids: HashMap<Token, String>,
}

#[async_trait]
impl Source for WatchedSource {
    fn held_lanes(&self) -> HeldLanes {
        self.inner.held_lanes()
    }

    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), BrokerError> {
        let had = events.len();
        self.inner.next(events).await?;
        for event in &events[had..] {
            if let Event::Delivery(delivery) = event {
                let id = delivery.message.id();
                self.ids.insert(delivery.token, id.to_owned());
                self.journal.note(id, What::Delivered);
            }
        }
        Ok(())
    }

    async fn settle(&mut self, batch: &[(Token, Verdict)]) -> Result<Settled, BrokerError> {
        let settled = self.inner.settle(batch).await?;
        for (token, verdict) in batch.iter().filter(|(token, _)| !settled.lost.contains(token)) {
            if let Some(id) = self.ids.remove(token) {
                self.journal.note(&id, What::Settled(*verdict));
            }
        }
        Ok(settled)
    }

    async fn set_prefetch(&mut self, prefetch: u16) -> Result<(), BrokerError> {
        self.inner.set_prefetch(prefetch).await
    }

    async fn close(self: Box<Self>, ctx: &Context) -> Result<(), BrokerError> {
        self.inner.close(ctx).await
    }
}

#[derive(Debug)]
struct WatchedSink {
    inner: Arc<dyn Sink>,
    journal: Arc<Journal>,
}

#[async_trait]
impl Sink for WatchedSink {
    async fn send(&self, outgoing: &Outgoing) -> Result<Receipt, BrokerError> {
        // The memory broker answers at once.
        let outcome = match self.inner.send(outgoing).await?.await {
            PublishOutcome::Returned(_) => PublishOutcome::Confirmed,
            outcome => outcome,
        };
        if matches!(outcome, PublishOutcome::Confirmed) {
            self.journal.note_published(outgoing);
        }
        Ok(Receipt::resolved(outcome))
    }

    async fn close(&self, ctx: &Context) {
        self.inner.close(ctx).await;
    }
}
