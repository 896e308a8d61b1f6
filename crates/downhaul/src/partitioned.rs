//! [`Partitioned`]: a broker for tests whose consumers have the lanes that the test says.

use std::future::pending;
use std::sync::Arc;

use async_trait::async_trait;
use downhaul_consumer::{
    Broker, BrokerError, Event, HeldLane, HeldLanes, Lane, MemoryBroker, Name, Settled, Sink,
    Source, Subscription, Token, Verdict,
};
use downhaul_context::Context;

/// Delivers nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Partitioned(pub(crate) HeldLanes);

impl Partitioned {
    /// Has consumers have a partition of `orders`, and be so far behind in it.
    pub(crate) fn put(&self, partition: u32, lag: Option<u64>) {
        let held = HeldLane::new(Name::of("orders"), partition).with_lag(lag);
        self.0.put(Lane::new(partition), held);
    }
}

#[async_trait]
impl Broker for Partitioned {
    fn system(&self) -> &'static str {
        "partitioned"
    }

    async fn source(
        &self,
        _ctx: &Context,
        _subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        Ok(Box::new(self.clone()))
    }

    async fn sink(&self, ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        MemoryBroker::new().sink(ctx).await
    }

    async fn close(&self, _ctx: &Context) {}
}

#[async_trait]
impl Source for Partitioned {
    async fn next(&mut self, _events: &mut Vec<Event>) -> Result<(), BrokerError> {
        pending().await
    }

    async fn settle(&mut self, _batch: &[(Token, Verdict)]) -> Result<Settled, BrokerError> {
        Ok(Settled::confirmed())
    }

    async fn set_prefetch(&mut self, _prefetch: u16) -> Result<(), BrokerError> {
        Ok(())
    }

    fn held_lanes(&self) -> HeldLanes {
        self.0.clone()
    }

    async fn close(self: Box<Self>, _ctx: &Context) -> Result<(), BrokerError> {
        Ok(())
    }
}
