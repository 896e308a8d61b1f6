//! What makes handlers and publishers log what they do.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use downhaul_consumer::{
    Broker, Incoming, Message, MessageObserver, Outgoing, PublishError, Publisher,
};
use downhaul_context::Context;
use tracing::Span;

use super::record::{Answer, Record};
use super::{Ending, Oracle, SEQUENCE};

type Handled<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Oracle {
    /// Wraps a handler so that every handling is logged under the name of `instance`: the messages
    /// of [`message`](Self::message) with their keys, others without.
    pub fn observe<M, F, Fut>(
        &self,
        instance: impl Into<String>,
        handler: F,
    ) -> impl Fn(Context, Incoming<M>) -> Handled<Fut::Output> + Send + Sync + 'static
    where
        M: Send + 'static,
        F: Fn(Context, Incoming<M>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: Ending> + Send + 'static,
    {
        let (oracle, instance) = (self.clone(), instance.into());
        move |ctx, message: Incoming<M>| {
            let key = message.key();
            let handling = oracle.begin(&instance, message.id(), key, message.attempt());
            let handled = handler(ctx, message);
            Box::pin(async move {
                let output = handled.await;
                handling.end(output.end());
                output
            })
        }
    }

    /// A handler for a dead-letter queue: it logs what it finds and acknowledges it.
    pub fn bury(
        &self,
    ) -> impl Fn(Context, Incoming<Message>) -> Handled<()> + Send + Sync + 'static {
        let oracle = self.clone();
        move |_ctx, letter: Incoming<Message>| {
            oracle.dead(&letter.body);
            Box::pin(async {})
        }
    }

    /// A publisher whose every try at a message is logged, also those that
    /// [`Publisher::publish_until_known`] makes by itself.
    pub fn publisher(&self, broker: Arc<dyn Broker>) -> Publisher {
        Publisher::with_observer(broker, Arc::new(Tries(self.clone())))
    }

    /// Publishes with one of our [publishers](Self::publisher) and logs the outcome.
    ///
    /// # Errors
    ///
    /// As [`Publisher::publish`].
    pub async fn publish(
        &self,
        publisher: &Publisher,
        ctx: &Context,
        outgoing: Outgoing,
    ) -> Result<(), PublishError> {
        let id = outgoing.message.id().to_owned();
        let result = publisher.publish(ctx, outgoing).await;
        self.published(id, &result);
        result
    }

    /// Publishes until the outcome is known, with one of our [publishers](Self::publisher), and
    /// logs the outcome.
    ///
    /// # Errors
    ///
    /// As [`Publisher::publish_until_known`].
    pub async fn publish_until_known(
        &self,
        publisher: &Publisher,
        ctx: &Context,
        outgoing: Outgoing,
    ) -> Result<(), PublishError> {
        let id = outgoing.message.id().to_owned();
        let result = publisher.publish_until_known(ctx, outgoing).await;
        self.published(id, &result);
        result
    }

    /// Logs what a publisher was told, where it was not asked through the oracle.
    ///
    /// # Panics
    ///
    /// As [`record`](Self::record).
    pub fn published(&self, id: impl Into<String>, result: &Result<(), PublishError>) {
        self.record(Record::Published { id: id.into(), outcome: Answer::of(result) });
    }
}

/// Logs tries at publishing before they are made.
#[derive(Debug)]
struct Tries(Oracle);

impl MessageObserver for Tries {
    fn publish(&self, ctx: Context, outgoing: &Outgoing, _system: &'static str) -> (Context, Span) {
        let header = |name| outgoing.message.headers().get(name);
        self.0.record(Record::Publishing {
            id: outgoing.message.id().to_owned(),
            key: outgoing.message.key().map(str::to_owned),
            sequence: header(SEQUENCE).and_then(|text| text.parse().ok()).unwrap_or_default(),
        });
        (ctx, Span::none())
    }
}
