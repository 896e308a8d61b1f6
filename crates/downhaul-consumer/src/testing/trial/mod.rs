//! [`Trial`]: one consumer on a broker of its own, and what becomes of each message.

mod error;
mod fate;
mod journal;
mod watched;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use downhaul_context::{Canceller, Context};
use futures_util::FutureExt;
use tokio::time::{advance, timeout};

use crate::broker::Broker;
use crate::consumer::Consumer;
use crate::handle::ConsumerHandle;
use crate::lifecycle::StopReport;
use crate::memory::MemoryBroker;
use crate::message::{Message, headers};
use crate::publish::{Destination, Outgoing};
use crate::publisher::Publisher;
use crate::testing::faults::Faults;
use crate::testing::faulty::FaultyBroker;
use crate::testing::trial::journal::Journal;
use crate::testing::trial::watched::{WatchedBroker, Watching};

pub use crate::testing::trial::error::TrialError;
pub use crate::testing::trial::fate::{Attempt, Ending, Fate};

/// One consumer on a broker of its own, in memory, behind [`Faults`].
///
/// It waits in virtual time alone: the clock of the test must be paused, and moves when everybody
/// waits. A handler that waits for something else, such as a socket or a blocking task, is waited
/// for while the clock goes on, and its timeouts come early.
///
/// Whatever is published to the trial's broker is kept, also to topics that nobody listens to.
/// Dropping the trial ends the consumer's context.
///
/// # Examples
///
/// A handler that emits, and one that never gets well:
///
/// ```
/// use downhaul_consumer::testing::{Ending, Trial};
/// use downhaul_consumer::{Consumer, Failure, Incoming, Json, Message, Outcome, Outgoing};
/// use downhaul_consumer::{Settlement, Subscription};
/// use downhaul_context::Context;
///
/// async fn reserve(_ctx: Context, order: Incoming<Json<u32>>) -> Result<Outcome, Failure> {
///     let left: u32 = 10u32.checked_sub(order.body.0).ok_or(std::fmt::Error)?;
///     let reserved = Outgoing::to_topic("stock.reserved", Message::json(&left)?);
///     Ok(Outcome::new(Settlement::Ack).emit(reserved))
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let inventory = Subscription::new("inventory").topic("order.created");
/// let trial = Trial::of(Consumer::new(inventory, reserve)).await;
///
/// let order = trial.send(Message::json(&3)?).await?;
/// assert_eq!(order.ending, Ending::Acked);
/// assert_eq!(trial.published_to("stock.reserved")[0].payload().as_ref(), b"7");
///
/// let too_many = trial.send(Message::json(&11)?).await?;
/// assert!(matches!(too_many.ending, Ending::DeadLetter { .. }));
/// assert_eq!(too_many.attempts.len(), 5);
/// assert_eq!(trial.dead_letters().len(), 1);
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping it ends the consumer"]
pub struct Trial {
    memory: MemoryBroker,
    faults: Faults,
    journal: Arc<Journal>,
    consumer: ConsumerHandle,
    /// Where messages are sent.
    entrance: Destination,
    queue: String,
    dead_letter_queue: String,
    patience: Duration,
    ctx: Context,
    _canceller: Canceller,
}

impl Trial {
    /// Starts a consumer on a broker of its own, and waits until it runs.
    ///
    /// # Panics
    ///
    /// If the clock of tokio is not paused, as `#[tokio::test(start_paused = true)]` does.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the consumer.
    pub async fn of(consumer: Consumer) -> Self {
        Self::with(|_| consumer).await
    }

    /// As [`of`](Self::of), for a consumer whose handler publishes by itself: it gets the broker of
    /// the trial to do so.
    ///
    /// # Panics
    ///
    /// As [`of`](Self::of), and where `make` does.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the consumer.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul_consumer::testing::Trial;
    /// use downhaul_consumer::{Consumer, Incoming, Message, Outgoing, Publisher, Subscription};
    /// use downhaul_context::Context;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let trial = Trial::with(|broker| {
    ///     let publisher = Publisher::new(broker);
    ///     let forward = move |ctx: Context, order: Incoming<Message>| {
    ///         let publisher = publisher.clone();
    ///         async move {
    ///             let outgoing = Outgoing::to_topic("audit", order.body);
    ///             Ok(publisher.publish(&ctx, outgoing).await?)
    ///         }
    ///     };
    ///     Consumer::new(Subscription::new("orders"), forward)
    /// })
    /// .await;
    /// trial.send(Message::new("7")).await?;
    /// assert_eq!(trial.published_to("audit").len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn with(make: impl FnOnce(Arc<dyn Broker>) -> Consumer) -> Self {
        let paused = AssertUnwindSafe(advance(Duration::ZERO)).catch_unwind().await;
        assert!(
            paused.is_ok(),
            "a trial needs a paused clock: #[tokio::test(start_paused = true)]"
        );
        let (memory, journal) = (MemoryBroker::new(), Arc::new(Journal::default()));
        let watched = WatchedBroker::new(memory.clone(), Arc::clone(&journal));
        let broker = FaultyBroker::over(Arc::new(watched));
        let (faults, broker): (Faults, Arc<dyn Broker>) = (broker.faults(), Arc::new(broker));
        let consumer = make(Arc::clone(&broker));
        let subscription = consumer.subscription();
        let (queue, dead) = (subscription.queue().to_owned(), subscription.dead_letter_queue());
        let entrance = match subscription.topics().next() {
            Some(topic) => Destination::Topic(topic.into()),
            None => Destination::Queue(subscription.queue().into()),
        };
        let watch = |observer| Watching::new(observer, Arc::clone(&journal));
        let (ctx, canceller) = Context::root();
        let consumer = consumer.wrap_observer(watch).spawn(&ctx, broker);
        consumer.settled().await;
        Self {
            memory,
            faults,
            journal,
            consumer,
            entrance,
            queue,
            dead_letter_queue: dead,
            patience: Duration::from_secs(3600),
            ctx,
            _canceller: canceller,
        }
    }

    /// Waits so long, in virtual time, for the end of a message. Default 1 h, which is more than
    /// five attempts of 5 minutes.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends a message to the consumer, by its first topic or else to its queue, and waits until it
    /// is acknowledged, dropped, a dead letter, or released by its handler.
    ///
    /// What its handler releases comes again; [`end_of`](Self::end_of) waits for what follows.
    ///
    /// # Errors
    ///
    /// A [`TrialError`] that says what has happened instead.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the message where it is.
    pub async fn send(&self, message: Message) -> Result<Fate, TrialError> {
        let (id, since) = (message.id().to_owned(), self.journal.len());
        self.publish(message).await?;
        self.end(&id, since).await
    }

    /// Sends messages, all before the first is waited for, and says what became of each, in their
    /// order.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), for the first that has no end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the messages where they are.
    pub async fn send_all(
        &self,
        messages: impl IntoIterator<Item = Message>,
    ) -> Result<Vec<Fate>, TrialError> {
        let (mut ids, since) = (Vec::new(), self.journal.len());
        for message in messages {
            ids.push(message.id().to_owned());
            self.publish(message).await?;
        }
        let mut fates = Vec::new();
        for id in ids {
            fates.push(self.end(&id, since).await?);
        }
        Ok(fates)
    }

    /// Waits for the end of a message that was sent before and released then, or that came from
    /// elsewhere. Its attempts are counted from the beginning; its releases are no end.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn end_of(&self, id: &str) -> Result<Fate, TrialError> {
        self.wait(id, |journal| journal.fate(id, 0, |ending| *ending != Ending::Released)).await
    }

    /// All attempts at a message so far, in the order in which they began.
    pub fn attempts(&self, id: &str) -> Vec<Attempt> {
        self.journal.attempts(id)
    }

    /// Makes the broker fail.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The consumer, to look at it and to pause, stop or restart it.
    pub fn consumer(&self) -> &ConsumerHandle {
        &self.consumer
    }

    /// What was published on the broker of the trial, oldest first: what the handler emitted, and
    /// what was published by itself. Without retries and dead letters, which are the engine's.
    pub fn published(&self) -> Vec<Outgoing> {
        let mut all = self.journal.published();
        all.retain(|outgoing| !self.is_engines(outgoing));
        all
    }

    /// The messages of [`published`](Self::published) that went to this topic or queue.
    pub fn published_to(&self, name: &str) -> Vec<Message> {
        let there = self.published().into_iter().filter(|one| one.destination.name() == name);
        there.map(|outgoing| outgoing.message).collect()
    }

    /// The dead letters, oldest first.
    pub fn dead_letters(&self) -> Vec<Message> {
        self.memory.ready(&self.dead_letter_queue)
    }

    /// Stops the consumer as the end of a service does: it finishes all that has arrived, within
    /// its budgets.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the consumer goes on stopping.
    pub async fn stop(&self) -> Option<StopReport> {
        self.consumer.drain();
        self.consumer.settled().await;
        self.consumer.last_stop()
    }

    async fn publish(&self, message: Message) -> Result<(), TrialError> {
        let id = message.id().to_owned();
        // Past the faults, and past what is kept of publishes: the sender is not on trial.
        let publisher = Publisher::new(Arc::new(self.memory.clone()));
        let outgoing = Outgoing::to(self.entrance.clone(), message);
        let published = publisher.publish(&self.ctx, outgoing).await;
        published.map_err(|error| TrialError::not_sent(id, error))
    }

    async fn end(&self, id: &str, since: usize) -> Result<Fate, TrialError> {
        self.wait(id, |journal| journal.fate(id, since, |_| true)).await
    }

    async fn wait(
        &self,
        id: &str,
        fate: impl Fn(&Journal) -> Option<Fate>,
    ) -> Result<Fate, TrialError> {
        let mut news = self.journal.news();
        let found = async {
            loop {
                news.mark_unchanged();
                if let Some(fate) = fate(&self.journal) {
                    return fate;
                }
                // Its sender is ours: it does not close.
                let _ = news.changed().await;
            }
        };
        match timeout(self.patience, found).await {
            Ok(fate) => Ok(fate),
            Err(_) => Err(TrialError::no_end(id, self.patience, self.instead(id))),
        }
    }

    /// What has happened to a message that has no end.
    fn instead(&self, id: &str) -> String {
        let snapshot = self.consumer.snapshot();
        let (state, others) = (snapshot.status.state, snapshot.in_flight.len());
        let stage = self.journal.stage(id).unwrap_or_else(|| {
            let depth = self.memory.depth(&self.queue);
            format!("it was not delivered, and {} wait in the queue", depth.ready + depth.delayed)
        });
        format!("{stage}; the consumer is {state} and handles {others}")
    }

    /// Whether it is a retry or a dead letter.
    fn is_engines(&self, outgoing: &Outgoing) -> bool {
        let Destination::Queue(queue) = &outgoing.destination else { return false };
        let own = *queue == *self.queue || *queue == *self.dead_letter_queue;
        own && outgoing.message.headers().get(headers::ATTEMPT).is_some()
    }
}

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (consumer, faults) = (&self.consumer, &self.faults);
        let mut trial = f.debug_struct("Trial");
        trial.field("consumer", &consumer.name()).field("faults", faults).finish_non_exhaustive()
    }
}
