//! [`OutcomeSink`]: publishing what deliveries lead to, by their transaction.

use std::sync::Arc;

use async_trait::async_trait;
use downhaul_consumer::{BrokerError, Outgoing, PublishOutcome, Receipt, Sink};
use downhaul_context::Context;

use crate::error::{closed, misconfigured};
use crate::options::Options;
use crate::places::Places;
use crate::transactions::Transactions;

/// Sends nothing itself. What it says to be confirmed is published together with the offset of its
/// delivery, or the delivery comes again.
#[derive(Debug)]
pub(crate) struct OutcomeSink {
    transactions: Arc<Transactions>,
    places: Places,
    /// Ends when the broker is closed.
    life: Context,
}

impl OutcomeSink {
    pub(crate) fn new(transactions: &Arc<Transactions>, options: &Options, life: &Context) -> Self {
        let transactions = Arc::clone(transactions);
        Self { transactions, places: Places::new(options), life: life.clone() }
    }
}

#[async_trait]
impl Sink for OutcomeSink {
    async fn send(&self, outgoing: &Outgoing) -> Result<Receipt, BrokerError> {
        if self.life.is_done() {
            return Err(closed());
        }
        let Some(delivery) = outgoing.outcome_of else {
            return Err(misconfigured(
                "a transactional broker publishes what handlers return and nothing else: \
                 publish by a broker without transactions",
            ));
        };
        let topic = self.places.topic(outgoing)?;
        if let Some(returned) = self.places.returned(&topic).await? {
            return Ok(returned);
        }
        let is_kept = self.transactions.keep(delivery, topic.into_owned(), outgoing)?;
        let outcome = if is_kept { PublishOutcome::Confirmed } else { PublishOutcome::Nacked };
        Ok(Receipt::resolved(outcome))
    }

    async fn close(&self, _ctx: &Context) {}
}
