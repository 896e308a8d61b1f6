//! [`Relay`]: publishes what is in an outbox.

use std::sync::Arc;
use std::time::Duration;

use downhaul_context::Context;

use crate::outbox::run::Run;
use crate::outbox::shared::Shared;
use crate::outbox::{Outbox, RelayHandle};
use crate::publisher::Publisher;
use crate::retry::Backoff;

/// No budget and no interval is shorter, so that a relay does not go in circles.
const SHORTEST: Duration = Duration::from_millis(1);
/// No budget and no interval is longer, so that instants do not overflow.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Publishes what is in an outbox, and marks what the broker has confirmed.
///
/// Any number of relays may share an outbox, in one process or several.
///
/// | what | default | set by |
/// |---|---|---|
/// | rows in hand at a time | 100 | [`window`](Self::window) |
/// | time to publish a row | 10 s | [`confirm_budget`](Self::confirm_budget) |
/// | lease of a claim | three times that | |
/// | time for the store to answer | 10 s | [`store_timeout`](Self::store_timeout) |
/// | time between looks, when nobody tells of news | 1 s | [`poll_interval`](Self::poll_interval) |
/// | first delay after a failure, see there | 200 ms, at most 60 s | [`backoff`](Self::backoff) |
/// | refusals, after which a row is dead | 16, over 4 to 8 min | [`refusals`](Self::refusals) |
///
/// # What becomes of a row
///
/// | the broker | the row |
/// |---|---|
/// | confirms | is done |
/// | says no for now (nacked), or nothing (unknown) | is tried again, for ever, with the same id |
/// | will not have it (refused, returned) | is tried again, and dead after `refusals` |
/// | cannot be reached | is given back, and does not count as tried |
///
/// Rows of a key are published one after the other, each when the one before is confirmed. One that
/// fails holds back those after it, and no other key. Rows without a key, and different keys, are
/// under way at the same time.
///
/// # What can be published twice
///
/// What was under way when a relay died, when the link was lost, or when the store could not be
/// told of a confirmation in time: at most one window each time, with the same ids. And what one
/// of several queues refused, in the others. So consumers must tell duplicates, as always.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "sqlite")] mod example {
/// use downhaul_consumer::outbox::{Outbox, Relay, SqliteOutbox};
/// use downhaul_consumer::rusqlite::Connection;
/// use downhaul_consumer::{Broker, MemoryBroker, Message, Outgoing, Publisher, Subscription};
/// use downhaul_context::Context;
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # pub async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("shop.db");
/// let broker = Arc::new(MemoryBroker::new());
/// let (service, canceller) = Context::root();
/// let inventory = Subscription::new("inventory").topic("order.created");
/// let mut source = broker.source(&service, &inventory).await?;
///
/// let outbox = SqliteOutbox::open(&path).await?;
/// let relay = Relay::new(Arc::new(outbox.clone()), Publisher::new(broker));
/// let running = tokio::spawn({
///     let service = service.clone();
///     async move { relay.run(&service).await }
/// });
///
/// let mut db = Connection::open(&path)?;
/// db.execute_batch("CREATE TABLE orders (number INTEGER)")?;
/// let tx = db.transaction()?;
/// tx.execute("INSERT INTO orders VALUES (7)", ())?;
/// let created = Message::json(&7)?.with_key("order-7");
/// outbox.enqueue(&service, &tx, &Outgoing::to_topic("order.created", created))?;
/// tx.commit()?;
/// outbox.notify();
///
/// let mut events = Vec::new();
/// source.next(&mut events).await?;
/// let delivery = events.remove(0).into_delivery().expect("a message");
/// assert_eq!(delivery.message.payload(), "7");
///
/// canceller.drain(Duration::from_secs(10));
/// running.await?;
/// assert_eq!(outbox.backlog().await?.pending, 0);
/// # Ok(())
/// # }
/// # }
/// # #[cfg(feature = "sqlite")] example::main().unwrap();
/// ```
#[derive(Debug)]
#[must_use = "a relay does nothing until it is run"]
pub struct Relay {
    pub(super) outbox: Arc<dyn Outbox>,
    pub(super) publisher: Publisher,
    pub(super) window: usize,
    pub(super) budget: Duration,
    pub(super) poll: Duration,
    pub(super) store: Duration,
    pub(super) refusals: u32,
    pub(super) backoff: Backoff,
    pub(super) shared: Arc<Shared>,
}

impl Relay {
    /// Makes a relay from an outbox to a broker.
    pub fn new(outbox: Arc<dyn Outbox>, publisher: Publisher) -> Self {
        Self {
            outbox,
            publisher,
            window: 100,
            budget: Duration::from_secs(10),
            poll: Duration::from_secs(1),
            store: Duration::from_secs(10),
            refusals: 16,
            backoff: Backoff::doubling(Duration::from_millis(200), Duration::from_secs(60)),
            shared: Arc::default(),
        }
    }

    /// How many rows it has in hand at a time; at least 1. So many may be published twice when it
    /// dies.
    pub fn window(mut self, rows: usize) -> Self {
        self.window = rows.max(1);
        self
    }

    /// How long publishing one row may take, to its confirmation, and how long after its claim a
    /// row may be begun; what is not begun by then is given back. The lease is three times as long,
    /// so that no other relay takes a row that may still be under way. From 1 ms to a day.
    pub fn confirm_budget(mut self, budget: Duration) -> Self {
        self.budget = budget.clamp(SHORTEST, LONGEST);
        self
    }

    /// How often it looks when it has found nothing and nobody tells of news. From 1 ms to a day.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll = interval.clamp(SHORTEST, LONGEST);
        self
    }

    /// How long a visit to the store may take: to write what has become of rows, and to claim more.
    /// One that takes longer is dropped, told of as an outage of the store, and tried again after a
    /// pause. What it may have claimed becomes free with its lease. From 1 ms to a day.
    pub fn store_timeout(mut self, limit: Duration) -> Self {
        self.store = limit.clamp(SHORTEST, LONGEST);
        self
    }

    /// The delay after a row's first failure, which doubles with each further one, and the longest
    /// delay. Between a half and all of it is waited, at random. While nothing at all comes
    /// through, the whole relay rests as long, at most 5 s.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.backoff = Backoff::doubling(first, longest);
        self
    }

    /// How many times a row may be refused or returned before it is dead; at least 1.
    pub fn refusals(mut self, refusals: u32) -> Self {
        self.refusals = refusals.max(1);
        self
    }

    /// Looks at this relay, while it runs and afterwards.
    pub fn handle(&self) -> RelayHandle {
        RelayHandle { shared: Arc::clone(&self.shared) }
    }

    /// Publishes until `ctx` drains or ends. One run at a time: its [handle](Self::handle) tells of
    /// one.
    ///
    /// When `ctx` drains, it claims nothing new, finishes what it has in hand, and returns. When
    /// `ctx` ends, it gives back what is not confirmed and returns. Errors of the store and of the
    /// broker are logged, and it goes on after a pause.
    /// At last it counts what is left, for 2 s at most.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future is like the death of the process: what it had in hand stays claimed
    /// until the lease runs out, and what was under way may be published again.
    pub async fn run(&self, ctx: &Context) {
        Run::new(self, ctx).run().await;
    }

    pub(super) fn lease(&self) -> Duration {
        self.budget.saturating_mul(3)
    }
}
