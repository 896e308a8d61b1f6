//! [`FaultyBroker`]: stands in front of a broker and fails on purpose.

mod held;
mod sink;
mod source;

use std::sync::Arc;

use async_trait::async_trait;
use downhaul_context::Context;

use crate::broker::{Broker, Capabilities, Sink, Source, Token};
use crate::error::{BrokerError, BrokerErrorKind};
use crate::message::Name;
use crate::subscription::Subscription;
use crate::testing::faults::Faults;
use crate::testing::faulty::sink::FaultySink;
use crate::testing::faulty::source::FaultySource;
use crate::testing::incident::Fault;

/// A broker that fails on purpose, in front of one that does not.
///
/// It keeps what the broker behind it promises, under all [`Faults`]: nothing confirmed is lost,
/// and messages of one key keep their order. So a consumer that is right stays right, and one that
/// is not can be found out.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::testing::{Fault, FaultyBroker};
/// use downhaul_consumer::{Consumer, Incoming, MemoryBroker, Message, Outgoing};
/// use downhaul_consumer::{Publisher, Subscription};
/// use downhaul_context::Context;
/// use std::sync::Arc;
/// use tokio::sync::mpsc;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let broker = Arc::new(FaultyBroker::over(Arc::new(MemoryBroker::new())));
/// let (calls, mut called) = mpsc::unbounded_channel();
/// let handle = move |_: Context, order: Incoming<Message>| {
///     let _ = calls.send(order.id().to_owned());
///     async {}
/// };
/// let ctx = Context::background();
/// let consumer = Consumer::new(Subscription::new("stock").topic("order"), handle);
/// consumer.spawn(&ctx, broker.clone()).settled().await;
///
/// broker.faults().lose_next_settlement();
/// let order = Outgoing::to_topic("order", Message::new("").with_id("order-7"));
/// Publisher::new(broker.clone()).publish(&ctx, order).await.unwrap();
/// assert_eq!(called.recv().await.as_deref(), Some("order-7"));
/// assert_eq!(called.recv().await.as_deref(), Some("order-7")); // nobody knew that it was done
/// assert_eq!(broker.faults().incidents()[0].fault, Fault::SettlementLost);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FaultyBroker {
    inner: Arc<dyn Broker>,
    faults: Faults,
}

impl FaultyBroker {
    /// Stands in front of `broker`. Nothing goes wrong before its [faults](Self::faults) say so.
    pub fn over(broker: Arc<dyn Broker>) -> Self {
        Self { inner: broker, faults: Faults::new() }
    }

    /// What tells it to fail.
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// # Errors
    ///
    /// It is to fail.
    fn open(&self, place: Option<&Name>) -> Result<(), BrokerError> {
        if self.faults.next(Fault::OF_OPENINGS).is_none() {
            return Ok(());
        }
        self.faults.note(Fault::OpeningRefused, place, Vec::new());
        Err(lost("the broker was told to be out of reach"))
    }
}

fn lost(words: &str) -> BrokerError {
    BrokerError::new(BrokerErrorKind::Unreachable, words)
}

#[async_trait]
impl Broker for FaultyBroker {
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
        let queue = Name::from(subscription.queue());
        self.open(Some(&queue))?;
        // From before the opening, so that a loss meanwhile is one of this link.
        let losses = self.faults.losses();
        let inner = self.inner.source(ctx, subscription).await?;
        Ok(Box::new(FaultySource::new(inner, self.faults.clone(), losses, queue)))
    }

    async fn sink(&self, ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        self.open(None)?;
        let losses = self.faults.losses();
        let inner = self.inner.sink(ctx).await?;
        Ok(Arc::new(FaultySink::new(inner, self.faults.clone(), losses)))
    }

    fn retract(&self, delivery: Token) {
        self.inner.retract(delivery);
    }

    async fn close(&self, ctx: &Context) {
        self.inner.close(ctx).await;
    }
}
