//! [`Consumer`]: a queue, a handler, and how much of it at a time.

use std::error::Error;
use std::future::Future;
use std::hash::Hash;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use downhaul_context::wire::{Extract, Names};
use downhaul_context::{Context, WireValue};

use crate::batch::{BatchHandler, Batches, IntoOutcomes};
use crate::broker::Broker;
use crate::dead_letters::DeadLetters;
use crate::decode::Decode;
use crate::engine::{Budgets, Engine, Handles, Ordered, Parts, Processor};
use crate::handle::ConsumerHandle;
use crate::handler::{Address, Handler, Incoming};
use crate::inbox::Inbox;
use crate::kill_switch::KillSwitch;
use crate::message::{Message, Name};
use crate::observer::{MessageObserver, PlainObserver};
use crate::publisher::Publisher;
use crate::rate::Rate;
use crate::retry::RetryPolicy;
use crate::settings::Settings;
use crate::settlement::{Classifier, IntoOutcome, Settlement};
use crate::shared::Shared;
use crate::subscription::Subscription;

/// Handles the messages of one queue. The [front page](crate) has a whole program.
#[derive(Clone, Debug)]
#[must_use = "a consumer does nothing until it is spawned"]
pub struct Consumer {
    name: Arc<str>,
    subscription: Subscription,
    handles: Handles,
    retry: RetryPolicy,
    classifier: Option<Classifier>,
    accepted: Option<Extract>,
    settings: Settings,
    budgets: Budgets,
    ordered: Option<Ordered>,
    parks_ordered: bool,
    kill_switch: Option<KillSwitch>,
    inbox: Option<Arc<dyn Inbox>>,
    suspect_after: u32,
    handler_timeout: Duration,
    /// A plain one, if none is set.
    observer: Option<Arc<dyn MessageObserver>>,
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
        Self::with(subscription, Handles::Singly(Handler::new(handler)))
    }

    /// Makes a consumer whose handler blocks its thread: it computes for long, or calls a library
    /// that waits. It runs on the runtime's threads for that.
    ///
    /// A thread cannot be stopped from outside: such a handler looks at its context, by
    /// [`Context::check`]. One that does not is left behind when its grace is over, and its message
    /// comes again while it goes on.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul_consumer::{Consumer, Failure, Incoming, Subscription};
    /// use downhaul_context::Context;
    ///
    /// fn thumbnail(ctx: Context, image: Incoming<bytes::Bytes>) -> Result<(), Failure> {
    ///     for _line in image.body.chunks(1024) {
    ///         ctx.check()?;
    ///         // … compute …
    ///     }
    ///     Ok(())
    /// }
    ///
    /// let consumer = Consumer::blocking(Subscription::new("images"), thumbnail).concurrency(2);
    /// # let _ = consumer;
    /// ```
    pub fn blocking<M, F, R>(subscription: Subscription, handler: F) -> Self
    where
        M: Decode + 'static,
        F: Fn(Context, Incoming<M>) -> R + Send + Sync + 'static,
        R: IntoOutcome + Send + 'static,
    {
        let handler = Arc::new(handler);
        Self::new(subscription, move |ctx, message| {
            let handler = Arc::clone(&handler);
            async move {
                let working = tokio::task::spawn_blocking(move || handler(ctx, message));
                match working.await {
                    Ok(result) => result.into_outcome(),
                    Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
                    // The runtime shuts down.
                    Err(_) => Settlement::Release.into_outcome(),
                }
            }
        })
    }

    /// Makes a consumer that gives messages to `handler` in [`Batches`].
    ///
    /// The handler is an `async fn(Context, Vec<Incoming<M>>) -> impl IntoOutcomes`: one result for
    /// all, or one for each. The context is of the whole batch; each message has its own
    /// [request](Incoming::request_id). A message that cannot be decoded or has expired becomes a
    /// dead letter and is not in the batch. A batch counts as one of the
    /// [concurrency](Self::concurrency), and the prefetch is enough for one more than that.
    pub fn batches<M, F, Fut>(subscription: Subscription, batches: Batches, handler: F) -> Self
    where
        M: Decode + 'static,
        F: Fn(Context, Vec<Incoming<M>>) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: IntoOutcomes,
    {
        let handles = Handles::InBatches(batches, BatchHandler::new(handler));
        let mut consumer = Self::with(subscription, handles);
        consumer.settings.batch = batches.most.get();
        consumer
    }

    fn with(subscription: Subscription, handles: Handles) -> Self {
        Self {
            name: Arc::from(subscription.queue()),
            subscription,
            handles,
            retry: RetryPolicy::default(),
            classifier: None,
            accepted: None,
            settings: Settings::default(),
            budgets: Budgets::default(),
            ordered: None,
            parks_ordered: false,
            kill_switch: None,
            inbox: None,
            suspect_after: 3,
            handler_timeout: Duration::from_secs(300),
            observer: None,
        }
    }

    /// Names the consumer in logs, reports and the control interface.
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// How many messages are handled at a time. Default 8, at least 1. Twice as many are taken from
    /// the broker, unless a [prefetch](Self::prefetch) is set.
    pub fn concurrency(mut self, concurrency: u16) -> Self {
        self.settings.concurrency = concurrency;
        self
    }

    /// How many messages may be unsettled at a time. Default twice the concurrency, and never less
    /// than that.
    ///
    /// More of them keep handlers busy that are quicker than the way to the broker. At a stop, what
    /// was taken and not begun goes back, which some brokers count as a delivery.
    pub fn prefetch(mut self, prefetch: u16) -> Self {
        self.settings.prefetch = Some(prefetch);
        self
    }

    /// How many bytes of payload and headers may be buffered before no more is taken. Default
    /// 64 MiB.
    pub fn buffered_bytes(mut self, bytes: usize) -> Self {
        self.settings.buffered_bytes = bytes;
        self
    }

    /// How many messages may begin in a time. Default: as many as there are.
    pub fn rate(mut self, rate: Rate) -> Self {
        self.settings.rate = Some(rate);
        self
    }

    /// Handles messages of one [key](Message::with_key) one after the other, in the order in which
    /// they came; those of different keys, and those without one, at the same time.
    ///
    /// A message that fails holds up its key until it is done, and waits for its next attempt in
    /// hand, however long that is; see [`park_ordered`](Self::park_ordered). With one that is given
    /// back by a consumer that takes nothing more goes what waits behind it.
    ///
    /// What waits behind others of its key counts for the [prefetch](Self::prefetch): where that is
    /// all of it, other keys wait as well. Set a larger one where keys come in bursts.
    ///
    /// Order is kept within this process, and as far as the broker keeps it: not between consumers
    /// of one queue, and not for what comes again after a lost link or because its handler has
    /// released it.
    pub fn ordered(mut self) -> Self {
        self.ordered = Some(Ordered::by_key());
        self
    }

    /// As [`ordered`](Self::ordered), by what `key` makes of a message. Those of `None` are free.
    pub fn ordered_by<K: Hash>(
        mut self,
        key: impl Fn(&Message) -> Option<K> + Send + Sync + 'static,
    ) -> Self {
        self.ordered = Some(Ordered::by(key));
        self
    }

    /// Lets a message of an ordered consumer that fails be parked like any other, when its next
    /// attempt is far: its key goes on without it, and it comes back out of order.
    pub fn park_ordered(mut self) -> Self {
        self.parks_ordered = true;
        self
    }

    /// Tells duplicates by their ids, and acknowledges them without a call of the handler. Default:
    /// handlers get every delivery.
    ///
    /// An id is claimed under the [name](Self::named) of the consumer before the handler is called,
    /// and committed when that has succeeded and what it emits is confirmed, before the message is
    /// acknowledged: what fails is handled again. A message that another holds is looked at again
    /// after 5 s, or when the lease is over, which is longer than an attempt may take; that is no
    /// attempt. A dead letter is not remembered: put back, it is handled again.
    pub fn dedupe(mut self, inbox: Arc<dyn Inbox>) -> Self {
        self.inbox = Some(inbox);
        self
    }

    /// After how many deliveries of a message, none of which was settled, it is handled alone, with
    /// nothing else at the same time. Default 3.
    ///
    /// A message that brings down the process takes with it all that the process holds, and comes
    /// again with them. Handled alone it takes no others. This needs a broker that
    /// [counts deliveries](crate::Capabilities::counts_deliveries); what was given back counts too.
    pub fn alone_after(mut self, deliveries: u32) -> Self {
        self.suspect_after = deliveries.max(1);
        self
    }

    /// Stops taking messages while nearly all of them fail. Default: never.
    pub fn kill_switch(mut self, switch: KillSwitch) -> Self {
        self.kill_switch = Some(switch);
        self
    }

    /// Binds values of type `T` that come with messages to the contexts of handlers. What no type
    /// was accepted for stays a header; a text that is not valid is left alone, and counted as
    /// [`Tally::ignored_values`](crate::Tally::ignored_values).
    pub fn accept<T: WireValue>(mut self) -> Self {
        let extract = self.accepted.take().unwrap_or_else(|| Extract::new(&Names::MESSAGE));
        self.accepted = Some(extract.accept::<T>());
        self
    }

    /// Says what becomes of a message whose handler failed with an error that it did not classify
    /// itself, as [`Failure`](crate::Failure) does: `None` leaves it to the retry policy. Of a
    /// [`Traced`](downhaul_context::Traced) error it is given the error itself. An error on which
    /// `classify` panics makes its message a dead letter.
    ///
    /// # Examples
    ///
    /// ```
    /// # use downhaul_consumer::{Consumer, Failure, Incoming, Message, Settlement, Subscription};
    /// # use downhaul_context::Context;
    /// # async fn handle(_: Context, _: Incoming<Message>) -> Result<(), Failure> { Ok(()) }
    /// use std::num::ParseIntError;
    ///
    /// let consumer = Consumer::new(Subscription::new("q"), handle).classify(|error| {
    ///     let hopeless = error.is::<ParseIntError>();
    ///     hopeless.then(|| Settlement::DeadLetter { reason: format!("not a number: {error}") })
    /// });
    /// # let _ = consumer;
    /// ```
    pub fn classify(
        mut self,
        classify: impl Fn(&(dyn Error + 'static)) -> Option<Settlement> + Send + Sync + 'static,
    ) -> Self {
        self.classifier = Some(Classifier::new(classify));
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
        self.budgets.drain = budget;
        self
    }

    /// How long a handler may go on after its context has ended, before it is dropped. Default 3 s.
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.budgets.cancel_grace = grace;
        self
    }

    /// Who makes the spans and log lines. Default: one plain span and one line for each message.
    pub fn observer(mut self, observer: Arc<dyn MessageObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Who does so where no [`observer`](Self::observer) is set: for whoever runs the consumers of
    /// others.
    pub fn default_observer(mut self, observer: Arc<dyn MessageObserver>) -> Self {
        self.observer.get_or_insert(observer);
        self
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The queue and what flows into it.
    #[cfg(feature = "testing")]
    pub(crate) fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// Puts another observer around the one that is set.
    #[cfg(feature = "testing")]
    pub(crate) fn wrap_observer<O: MessageObserver>(
        mut self,
        wrap: impl FnOnce(Arc<dyn MessageObserver>) -> O,
    ) -> Self {
        let inner = self.observer.take().unwrap_or_else(|| Arc::new(PlainObserver));
        self.observer = Some(Arc::new(wrap(inner)));
        self
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
        let dead_letters = DeadLetters::of(self.subscription.queue(), Arc::clone(&broker));
        let shared = Shared::new(Arc::clone(&self.name), self.settings, dead_letters);
        let shared = Arc::new(shared);
        let observer = self.observer.unwrap_or_else(|| Arc::new(PlainObserver));
        let queue = Name::from(self.subscription.queue());
        let address = Address { queue, system: broker.system() };
        let processor = Processor {
            handles: self.handles,
            retry: self.retry,
            classifier: self.classifier,
            accepted: self.accepted,
            inbox: self.inbox,
            timeout: self.handler_timeout,
            cancel_grace: self.budgets.cancel_grace,
            publisher: Publisher::with_observer(Arc::clone(&broker), Arc::clone(&observer)),
            observer,
            address: Arc::new(address),
            dead_letter_queue: Name::from(self.subscription.dead_letter_queue()),
            suspect_after: self.suspect_after,
            parks: broker.capabilities().delay,
            holds_key: self.ordered.is_some() && !self.parks_ordered,
            shared: Arc::clone(&shared),
        };
        let parts = Parts {
            broker,
            subscription: self.subscription,
            processor: Arc::new(processor),
            ordered: self.ordered,
            kill_switch: self.kill_switch,
            budgets: self.budgets,
            shared: Arc::clone(&shared),
        };
        let engine = Engine { ctx: ctx.clone(), parts, wishes: shared.wish.subscribe() };
        tokio::spawn(engine.run());
        ConsumerHandle { shared }
    }
}
