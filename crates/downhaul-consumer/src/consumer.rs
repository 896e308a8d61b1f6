//! [`Consumer`]: a queue, a handler, and how much of it at a time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use downhaul_context::Context;

use crate::broker::Broker;
use crate::decode::Decode;
use crate::engine::{Engine, Limits, Processor};
use crate::handle::ConsumerHandle;
use crate::handler::{Handler, Incoming};
use crate::observer::{MessageObserver, PlainObserver};
use crate::publisher::Publisher;
use crate::retry::RetryPolicy;
use crate::settlement::IntoOutcome;
use crate::shared::Shared;
use crate::subscription::Subscription;

/// Handles the messages of one queue.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::{Consumer, Failure, Incoming, Json, MemoryBroker, Message, Outgoing};
/// use downhaul_consumer::{Publisher, Subscription};
/// use downhaul_context::Context;
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// async fn reserve(_ctx: Context, order: Incoming<Json<u32>>) -> Result<(), Failure> {
///     println!("reserving {} of order {}", order.body.0, order.id());
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let broker = Arc::new(MemoryBroker::new());
/// let (service, canceller) = Context::root();
///
/// let inventory = Consumer::new(Subscription::new("inventory").topic("order.created"), reserve)
///     .concurrency(8)
///     .spawn(&service, broker.clone());
/// inventory.settled().await; // running: the queue is there
///
/// let message = Outgoing::to_topic("order.created", Message::json(&3).unwrap());
/// Publisher::new(broker).publish(&service, message).await.unwrap();
///
/// canceller.drain(Duration::from_secs(30));
/// inventory.ended().await;
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a consumer does nothing until it is spawned"]
pub struct Consumer {
    name: Arc<str>,
    subscription: Subscription,
    handler: Handler,
    retry: RetryPolicy,
    limits: Limits,
    handler_timeout: Duration,
    observer: Arc<dyn MessageObserver>,
}

impl Consumer {
    /// Makes a consumer that gives each message of the queue to `handler`, and bears the queue's
    /// name.
    ///
    /// The handler is an `async fn(Context, Incoming<M>) -> impl IntoOutcome`. Its context ends
    /// when the handler's timeout is over or when the consumer must stop now; it drains when the
    /// consumer does.
    pub fn new<M, F, Fut>(subscription: Subscription, handler: F) -> Self
    where
        M: Decode + 'static,
        F: Fn(Context, Incoming<M>) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: IntoOutcome,
    {
        Self {
            name: Arc::from(subscription.queue()),
            subscription,
            handler: Handler::new(handler),
            retry: RetryPolicy::default(),
            limits: Limits::default(),
            handler_timeout: Duration::from_secs(300),
            observer: Arc::new(PlainObserver),
        }
    }

    /// Names the consumer in logs, reports and the control interface.
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// How many messages are handled at a time. Default 8, at least 1. Twice as many are taken from
    /// the broker.
    pub fn concurrency(mut self, concurrency: u16) -> Self {
        self.limits.concurrency = concurrency.max(1);
        self
    }

    /// How failed messages are tried again.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// How long one attempt at a message may take. Default 5 minutes, well below the 30 minutes
    /// after which RabbitMQ closes the channel of a consumer that has not acknowledged.
    pub fn handler_timeout(mut self, timeout: Duration) -> Self {
        self.handler_timeout = timeout;
        self
    }

    /// How long stopping may wait for handlers to finish before their contexts end. Default 20 s.
    pub fn drain_budget(mut self, budget: Duration) -> Self {
        self.limits.drain = budget;
        self
    }

    /// How long a handler may go on after its context has ended, before it is dropped. Default 3 s.
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.limits.cancel_grace = grace;
        self
    }

    /// Who makes the spans and log lines.
    pub fn observer(mut self, observer: Arc<dyn MessageObserver>) -> Self {
        self.observer = observer;
        self
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts the consumer under `ctx` and returns its handle.
    ///
    /// It runs until `ctx` drains: then it takes nothing new, finishes what has arrived, and ends.
    /// When `ctx` ends, it releases what it holds and ends. Dropping the handle does not stop it.
    ///
    /// # Panics
    ///
    /// If called outside a tokio runtime.
    pub fn spawn(self, ctx: &Context, broker: Arc<dyn Broker>) -> ConsumerHandle {
        let shared = Arc::new(Shared::new(Arc::clone(&self.name)));
        let processor = Processor {
            handler: self.handler,
            retry: self.retry,
            timeout: self.handler_timeout,
            cancel_grace: self.limits.cancel_grace,
            publisher: Publisher::with_observer(Arc::clone(&broker), Arc::clone(&self.observer)),
            observer: self.observer,
            queue: Arc::from(self.subscription.queue()),
            dead_letter_queue: self.subscription.dead_letter_queue(),
            system: broker.system(),
            shared: Arc::clone(&shared),
        };
        let prefetch = self.limits.concurrency.saturating_mul(2);
        let engine = Engine {
            ctx: ctx.clone(),
            broker,
            subscription: self.subscription.with_prefetch(prefetch),
            processor: Arc::new(processor),
            limits: self.limits,
            wish: shared.wish.subscribe(),
            shared: Arc::clone(&shared),
        };
        tokio::spawn(engine.run());
        ConsumerHandle { shared }
    }
}
