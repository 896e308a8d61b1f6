//! [`MemoryLog`]: a log with partitions, groups and offsets, in memory.
//!
//! [`State`](state::State) holds everything behind one lock. A [`Log`](log::Log) is the partitions
//! of a topic. A [`Group`](group::Group) knows who holds which partition, and each holding has its
//! [`Progress`](progress::Progress). A source only compares what the group says with what it has
//! told, so that it cannot miss a change, whenever it is asked.

mod group;
mod log;
mod progress;
mod sharing;
mod sink;
mod source;
mod state;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use downhaul_context::Context;

use crate::broker::{Broker, Capabilities, Sink, Source};
use crate::error::BrokerError;
use crate::memory_log::sink::LogSink;
use crate::memory_log::source::LogSource;
use crate::memory_log::state::Shared;
use crate::message::Name;
use crate::publish::Destination;
use crate::subscription::Subscription;

/// A partitioned log in memory, shared by all clones: what Kafka is, without the network.
///
/// Good to test how a service lives with partitions that move, and to read what was published
/// before. It keeps every message for as long as the process lives.
///
/// - **Topics** are logs of a fixed number of partitions. A message goes to the partition of its
///   key, or to each in turn if it has none, and stays there when it is consumed. A topic is made
///   by the first subscription that names it, or by [`create_topic`](Self::create_topic); what is
///   published to one that does not exist is [returned](crate::PublishErrorKind::Returned).
/// - **Groups** are queues: all sources of one [queue](Subscription::queue) share the partitions of
///   all topics that any of them has named, and each group gets every message. A new group begins
///   at the beginning.
/// - **Offsets**: of each partition, a group commits the lowest that it has not finished. What was
///   acknowledged beyond it comes again when the partition changes hands, or when the link is lost.
///   Of a partition no more is read than the [longest gap](Self::with_longest_gap) beyond that
///   offset, whatever the prefetch.
/// - **Rebalancing**: when a source opens, the partitions that move are
///   [revoked](crate::Event::Revoking) from those who have them, and no others. Who has one
///   finishes what is begun of it and what lies before that, for at most the
///   [revoke budget](Self::with_revoke_budget). When
///   a source closes, is dropped or is cut, others have its partitions at once.
/// - **A group's own log**: what goes to [one queue](Destination::Queue), such as a parked retry,
///   is appended to a log that only this group reads, besides its topics. Its dead-letter queue is
///   the own log of the group of that name, `<group>.dead`. What is delayed is held back before it
///   is appended, so nothing waits behind it.
///
/// A consumer that is paused or drains keeps its partitions meanwhile, and nobody else reads them.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::{Consumer, Incoming, MemoryLog, Message, Outgoing, Publisher};
/// use downhaul_consumer::Subscription;
/// use downhaul_context::Context;
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let log = MemoryLog::new(4);
/// log.create_topic("order.created");
/// let (service, canceller) = Context::root();
/// let order = Message::new("17").with_key("customer-3");
/// let outgoing = Outgoing::to_topic("order.created", order);
/// Publisher::new(Arc::new(log.clone())).publish(&service, outgoing).await.unwrap();
///
/// // A group that is made later reads it, too.
/// async fn reserve(_ctx: Context, order: Incoming<Message>) {
///     assert_eq!(order.body.payload(), "17");
/// }
/// let inventory = Consumer::new(Subscription::new("inventory").topic("order.created"), reserve)
///     .spawn(&service, Arc::new(log.clone()));
/// while log.lag("inventory") > 0 || inventory.tally().acked < 1 {
///     tokio::task::yield_now().await;
/// }
/// let partition = log.partition_of("customer-3");
/// assert_eq!(log.committed("inventory", "order.created", partition), 1);
/// assert_eq!(log.end_offset("order.created", partition), 1);
/// canceller.drain(Duration::from_secs(30));
/// inventory.ended().await;
/// # }
/// ```
#[derive(Clone)]
pub struct MemoryLog {
    shared: Arc<Shared>,
    partitions: usize,
}

impl MemoryLog {
    /// Makes an empty log whose topics will have so many partitions, at least 1.
    pub fn new(partitions: u16) -> Self {
        let partitions = usize::from(partitions.max(1));
        Self { shared: Arc::new(Shared::new(partitions)), partitions }
    }

    /// Sets how long a source may take to finish what it has begun of a partition that goes to
    /// another, for all clones, from the next rebalance on. Default 5 seconds.
    ///
    /// When it has passed, the partition goes: the source hears that it is
    /// [lost](crate::Event::Lost), and its verdicts come too late.
    #[must_use]
    pub fn with_revoke_budget(self, budget: Duration) -> Self {
        self.shared.lock().revoke_budget = budget;
        self
    }

    /// Sets how many messages of a partition may be read from the lowest unfinished one on, for all
    /// clones. Default 1,024, at least 1.
    ///
    /// It bounds what comes again when the partition changes hands while its head is unfinished.
    #[must_use]
    pub fn with_longest_gap(self, messages: usize) -> Self {
        self.shared.lock().longest_gap = messages.max(1);
        self
    }

    /// Makes a topic, unless it is there: from then on, what is published to it is kept.
    pub fn create_topic(&self, name: impl Into<Name>) {
        self.shared.lock().log(Destination::Topic(name.into()));
    }

    /// The partition of messages with this key, in every topic.
    pub fn partition_of(&self, key: impl AsRef<[u8]>) -> usize {
        log::partition_of(key.as_ref(), self.partitions)
    }

    /// How many partitions each topic has.
    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// The offset from which a group would read a partition on; 0 if one of them does not exist.
    pub fn committed(&self, group: &str, topic: &str, partition: usize) -> u64 {
        self.shared.lock().committed(group, topic, partition)
    }

    /// The offset that the next message of a partition will have; 0 if it does not exist.
    pub fn end_offset(&self, topic: &str, partition: usize) -> u64 {
        self.shared.lock().end_offset(topic, partition)
    }

    /// How many messages a group has not committed: of all its topics, and of its own log with what
    /// is held back for it. 0 for a group that does not exist.
    pub fn lag(&self, group: &str) -> u64 {
        self.shared.lock().lag(group)
    }

    /// Cuts every link, as a broker that restarts does: sources and sinks die, what is not
    /// committed comes again. New ones can be opened at once, unless the log is
    /// [unreachable](Self::set_reachable).
    pub fn cut(&self) {
        self.shared.lock().cut();
    }

    /// Refuses to open anything, and cuts every link, until it is reachable again.
    pub fn set_reachable(&self, reachable: bool) {
        self.shared.lock().set_reachable(reachable);
    }
}

#[async_trait]
impl Broker for MemoryLog {
    fn system(&self) -> &'static str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE.with_delay().with_order().with_lanes().with_replay()
    }

    async fn source(
        &self,
        _ctx: &Context,
        subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        Ok(Box::new(LogSource::open(Arc::clone(&self.shared), subscription)?))
    }

    async fn sink(&self, _ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        Ok(Arc::new(LogSink::open(Arc::clone(&self.shared))?))
    }

    async fn close(&self, _ctx: &Context) {
        self.set_reachable(false);
    }
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLog").field("partitions", &self.partitions).finish_non_exhaustive()
    }
}
