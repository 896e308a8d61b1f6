//! [`Opening`]: opens a source, as often as it takes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use downhaul_context::Context;
use futures_util::future::BoxFuture;
use tokio::time::sleep;

use crate::broker::{Broker, Source};
use crate::error::BrokerError;
use crate::lifecycle::Link;
use crate::retry::Backoff;
use crate::subscription::Subscription;

/// The delays between attempts.
const AGAIN: Backoff = Backoff::doubling(Duration::from_millis(50), Duration::from_secs(5));

/// A source with the prefetch that it was opened with, or why there is none.
pub(crate) type Opened = Result<(Box<dyn Source>, u16), BrokerError>;

#[derive(Default)]
pub(crate) struct Opening {
    under_way: Option<BoxFuture<'static, Opened>>,
    failures: u32,
    /// When the first of these failures was.
    since: Option<SystemTime>,
    error: Option<Arc<str>>,
}

impl Opening {
    /// Waits for the attempt that is under way, or begins one: at once, or a while after a failure.
    /// Cancel safe.
    pub(crate) async fn next(
        &mut self,
        ctx: &Context,
        broker: &Arc<dyn Broker>,
        subscription: &Subscription,
        prefetch: u16,
    ) -> Opened {
        let failures = self.failures;
        let attempt = self.under_way.get_or_insert_with(|| {
            let (ctx, broker) = (ctx.clone(), Arc::clone(broker));
            let subscription = subscription.clone().with_prefetch(prefetch);
            Box::pin(async move {
                if failures > 0 {
                    sleep(AGAIN.after(failures)).await;
                }
                let source = broker.source(&ctx, &subscription).await?;
                Ok((source, subscription.prefetch()))
            })
        });
        let opened = attempt.await;
        self.under_way = None;
        opened
    }

    /// Notes that an attempt has failed.
    pub(crate) fn fail(&mut self, consumer: &str, error: &BrokerError) {
        self.failures = self.failures.saturating_add(1);
        self.since.get_or_insert_with(SystemTime::now);
        let (attempt, chain) = (self.failures, error.chain());
        // A broker that is away for long says the same again and again, to each consumer.
        if self.error.as_deref() == Some(&*chain) {
            tracing::debug!(consumer, attempt, error = chain, "the broker is still away");
        } else {
            tracing::warn!(consumer, attempt, error = chain, "no link to the broker");
        }
        self.error = Some(Arc::from(chain));
    }

    /// Notes why there is a source to open, after one was lost, and how many in a row were lost
    /// before they were of any use: those count as failures, or they would be opened without a
    /// pause. Its broker may have been away before.
    pub(crate) fn after(error: &BrokerError, useless: u32, away: Option<SystemTime>) -> Self {
        let (since, error) = (away.or_else(|| Some(SystemTime::now())), error.chain());
        let error = Some(Arc::from(error));
        Self { since, error, failures: useless, ..Self::default() }
    }

    /// Notes that there is a source, and tells that where it was told that there was none.
    pub(crate) fn succeed(&mut self, consumer: &str) {
        if self.error.is_some() {
            tracing::info!(consumer, "the link to the broker is back");
        }
        *self = Self::default();
    }

    /// How the link is seen while there is none.
    pub(crate) fn link(&self) -> Link {
        match (self.since, &self.error) {
            (Some(since), Some(error)) => {
                Link::Recovering { since, attempt: self.failures, error: Arc::clone(error) }
            }
            _ => Link::Closed,
        }
    }
}
