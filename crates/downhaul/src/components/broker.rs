//! [`BrokerLink`]: the broker that consumers and publishers use, closed after all of them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::{Broker, BrokerError, Publisher};
use downhaul_context::Context;
use tokio::time::sleep;

use crate::component::Component;
use crate::error::BoxError;

/// How long to wait before a broker that could not be reached is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// How long to wait for the broker to say goodbye.
const CLOSE: Duration = Duration::from_secs(2);

/// Reaches a broker when the app starts, and closes it when nothing needs it any more.
pub struct BrokerLink {
    broker: Arc<dyn Broker>,
    publisher: Publisher,
    last_error: Mutex<Option<String>>,
    last_words: Box<dyn Fn() -> String + Send + Sync>,
}

impl BrokerLink {
    /// Makes a component of a broker and the publisher that the service uses.
    pub fn new(broker: Arc<dyn Broker>, publisher: Publisher) -> Self {
        let last_words = Box::new(String::new);
        Self { broker, publisher, last_error: Mutex::default(), last_words }
    }

    /// What the report says of the broker, such as what is left in its queues. Asked when all
    /// consumers have stopped.
    #[must_use]
    pub fn last_words(mut self, words: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.last_words = Box::new(words);
        self
    }

    /// Whether the broker can be reached, by opening a sink.
    async fn reach(&self, ctx: &Context) -> Result<(), BrokerError> {
        let sink = self.broker.sink(ctx).await?;
        sink.close(ctx).await;
        Ok(())
    }

    fn set_last_error(&self, error: Option<String>) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}

#[async_trait]
impl Component for BrokerLink {
    async fn start(&self, ctx: &Context) -> Result<(), BoxError> {
        // A broker that is not there yet is waited for, as long as the app lets a component start.
        // One that can never be reached, for want of the right password, is a mistake to tell at
        // once.
        loop {
            match self.reach(ctx).await {
                Ok(()) => break,
                Err(error) if error.is_permanent() => return Err(Box::new(error)),
                Err(error) => {
                    tracing::warn!(error = error.chain(), "broker not reached yet");
                    self.set_last_error(Some(error.chain()));
                }
            }
            sleep(AGAIN).await;
        }
        self.set_last_error(None);
        Ok(())
    }

    async fn stop(&self, ctx: &Context) -> String {
        let words = (self.last_words)();
        // A broker that does not answer is left: all that mattered was confirmed or settled before.
        let (closing, _canceller) = ctx.derive().label("close").timeout(CLOSE).build();
        self.publisher.close(&closing).await;
        self.broker.close(&closing).await;
        words
    }

    fn not_ready(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for BrokerLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerLink").field("broker", &self.broker).finish_non_exhaustive()
    }
}
