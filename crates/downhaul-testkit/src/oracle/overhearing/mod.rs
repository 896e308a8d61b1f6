//! [`Oracle::overhear`]: logs what a client says by itself of what it has lost or may have doubled.

mod ear;
mod mouth;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::{Broker, BrokerError, Capabilities, Sink, Source, Subscription, Token};
use downhaul_context::Context;

use self::ear::Ear;
use self::mouth::Mouth;
use super::Oracle;

impl Oracle {
    /// A broker that does as `broker` does, and whose sources are overheard for the handler
    /// `instance`, as its sinks are [too](Self::overhear_moves): where links are not what
    /// settlements depend on, since a membership outlives them, or ends while they live.
    ///
    /// A source may say that lanes are lost, that it is dead, or that its last settlements may be
    /// lost. Then a [`Cause::SettlementLost`](super::Cause::SettlementLost) is logged for each
    /// message concerned that was delivered and not settled, or settled no longer ago than `late`:
    /// what was settled before is held for known to the broker. A lane that goes as asked for
    /// explains nothing.
    #[must_use]
    pub fn overhear(
        &self,
        instance: impl Into<String>,
        broker: Arc<dyn Broker>,
        late: Duration,
    ) -> Arc<dyn Broker> {
        let oracle = self.clone();
        Arc::new(Overheard { oracle, broker, sources: Some((instance.into(), late)) })
    }

    /// A broker that does as `broker` does, and whose sinks are overheard.
    ///
    /// A consumer that moves a message to where it goes next, and is not told in time that it has
    /// arrived, keeps the message. Both may come then, and a
    /// [`Cause::PublishUnanswered`](super::Cause::PublishUnanswered) is logged.
    #[must_use]
    pub fn overhear_moves(&self, broker: Arc<dyn Broker>) -> Arc<dyn Broker> {
        Arc::new(Overheard { oracle: self.clone(), broker, sources: None })
    }
}

#[derive(Debug)]
struct Overheard {
    oracle: Oracle,
    broker: Arc<dyn Broker>,
    /// For which instance, and how late a settlement may be known.
    sources: Option<(String, Duration)>,
}

#[async_trait]
impl Broker for Overheard {
    fn system(&self) -> &'static str {
        self.broker.system()
    }

    fn capabilities(&self) -> Capabilities {
        self.broker.capabilities()
    }

    async fn source(
        &self,
        ctx: &Context,
        subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        let source = self.broker.source(ctx, subscription).await?;
        Ok(match &self.sources {
            Some((instance, late)) => {
                Box::new(Ear::new(self.oracle.clone(), instance.clone(), *late, source))
            }
            None => source,
        })
    }

    async fn sink(&self, ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        let sink = self.broker.sink(ctx).await?;
        Ok(Arc::new(Mouth::new(self.oracle.clone(), sink)))
    }

    fn retract(&self, delivery: Token) {
        self.broker.retract(delivery);
    }

    async fn close(&self, ctx: &Context) {
        self.broker.close(ctx).await;
    }
}
