//! [`Kafka`]: the broker.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::{Broker, BrokerError, Capabilities, Sink, Source, Subscription, Token};
use downhaul_context::{Canceller, Context, Reason};

use crate::address::Address;
use crate::admin;
use crate::error::{closed, gave_up};
use crate::ladder::Ladders;
use crate::options::{Options, Property, Role};
use crate::own::OwnTopics;
use crate::query;
use crate::seek::{self, Place};
use crate::sink::KafkaSink;
use crate::source::KafkaSource;
use crate::topics::NewTopics;
use crate::transactions::{OutcomeSink, Transactions};

/// How long a broker that is closed waits for members to leave. That takes milliseconds, unless
/// nobody answers.
const LEAVING: Duration = Duration::from_secs(1);
/// librdkafka counts milliseconds, in numbers that are soon at their end.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A Kafka cluster, or anything that speaks its protocol.
///
/// Nothing is connected before it is used: then each consumer has a client of its own, and all
/// publishers share one.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::BrokerErrorKind;
/// use downhaul_kafka::Kafka;
///
/// let broker = Kafka::new("kafka://one:9092,two:9092")?
///     .property("security.protocol", "sasl_ssl")
///     .property("sasl.password", "hush")
///     .producer_property("compression.type", "lz4");
/// assert!(!format!("{broker:?}").contains("hush"));
///
/// let error = Kafka::new("http://localhost").unwrap_err();
/// assert_eq!(error.kind(), BrokerErrorKind::Configuration);
/// # Ok::<(), downhaul_consumer::BrokerError>(())
/// ```
pub struct Kafka {
    options: Options,
    life: Context,
    canceller: Canceller,
}

impl Kafka {
    /// Makes a broker of the addresses by which the cluster is found:
    /// `kafka://host:port,host:port`. The scheme may be left out, and a port that is 9092.
    ///
    /// Behind them there may be properties for all clients, as [`property`](Self::property) sets
    /// them: `kafka://host:port?security.protocol=ssl&session.timeout.ms=6000`. In their values
    /// `&` and `%` are percent-encoded. A client that has no use for a property ignores it, and
    /// librdkafka logs that.
    ///
    /// # Errors
    ///
    /// The address is not valid. The error says why and does not repeat it.
    pub fn new(address: &str) -> Result<Self, BrokerError> {
        let (servers, query) = address.split_once('?').unwrap_or((address, ""));
        let mut options = Options::new(Address::parse(servers)?);
        options.properties = query::properties(query)?;
        let (life, canceller) = Context::root();
        Ok(Self { options, life, canceller })
    }

    /// Sets a [property of librdkafka][properties] for all clients, such as `security.protocol`.
    /// What comes later wins over what came before, and over the defaults that the
    /// [crate's page](crate#what-it-sets) names.
    ///
    /// Whether it is valid is seen when the first client is made: then opening fails with an error
    /// that names it.
    ///
    /// [properties]: https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md
    #[must_use]
    pub fn property(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with(Role::All, name, value)
    }

    /// Sets a property for consumers alone, such as `session.timeout.ms`.
    #[must_use]
    pub fn consumer_property(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with(Role::Consumer, name, value)
    }

    /// Sets a property for publishers alone, such as `compression.type`.
    #[must_use]
    pub fn producer_property(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with(Role::Producer, name, value)
    }

    fn with(mut self, role: Role, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.properties.push(Property::new(role, name, value));
        self
    }

    /// Makes the topics that subscriptions name, where there are none. By default that is an error:
    /// a name that was misspelt would become a topic. What is published to a topic that there is
    /// not is [returned](downhaul_consumer::PublishErrorKind::Returned) in any case.
    #[must_use]
    pub fn create_topics(mut self, topics: NewTopics) -> Self {
        self.options.topics = Some(topics);
        self
    }

    /// How the topics that belong to groups are made: those for retries, and those for dead
    /// letters. By default with one partition, replicated as the cluster is configured to.
    #[must_use]
    pub fn group_topics(mut self, topics: NewTopics) -> Self {
        self.options.groups_topics = topics;
        self
    }

    /// The steps of delay, each of which is a topic of each group. A message that is held back goes
    /// to the shortest that is long enough, and is delivered when it is due, or when one before it
    /// in the same partition is: so a step should not be much longer than the one before it. A
    /// delay that is longer than the longest cannot be had.
    ///
    /// Default 1 s, 10 s, 1 min, 10 min, 1 h and 24 h. None at all count as one of 1 s. When they
    /// are changed, the topics of the former ones are read on as long as they are there.
    #[must_use]
    pub fn retry_steps(mut self, steps: &[Duration]) -> Self {
        self.options.own = OwnTopics::new(steps);
        self.options.ladders = Ladders::default();
        self
    }

    /// How often offsets are committed, and after how many messages at the latest. Besides, they
    /// are whenever partitions go, and when a source closes.
    ///
    /// What was finished and not committed comes again after a crash. Default 1 s and 10,000
    /// messages, at least 10 ms and 1.
    #[must_use]
    pub fn commit_every(mut self, interval: Duration, messages: usize) -> Self {
        self.options.commit_interval = interval.max(Duration::from_millis(10));
        self.options.commit_after = messages.max(1);
        self
    }

    /// How many messages of a partition may be read from the lowest unfinished one on, which is
    /// how many may come again after a crash. Default 1,024, at least 1.
    ///
    /// A message that is unfinished for 10 s and keeps others from being read is told of by a
    /// `WARN` of `tracing` with its topic, partition and offset.
    #[must_use]
    pub fn longest_gap(mut self, messages: usize) -> Self {
        self.options.longest_gap = messages.max(1);
        self
    }

    /// How long a consumer may take to finish what it has begun of partitions that go to others,
    /// and what lies before that; after that they go, and what is finished of them later counts as
    /// lost. Half of it may go to waiting for a retry that finished messages lie behind.
    /// Default 30 s.
    ///
    /// The others wait meanwhile, and nothing new is read of the partitions that stay, which is
    /// librdkafka's rule. More than `max.poll.interval.ms` (5 min) does not help: then the
    /// group goes on without this consumer.
    #[must_use]
    pub fn revoke_budget(mut self, budget: Duration) -> Self {
        self.options.revoke_budget = budget;
        self
    }

    /// How long the cluster may take to answer when a source or a sink is opened. Default 10 s, at
    /// most a day.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout = timeout.min(DAY);
        self
    }

    /// Has what a consumer's handlers return become visible together with the offsets of their
    /// messages, by transactions of this `transactional.id`: their emitted messages, their parked
    /// retries and their dead letters. The id must be this consumer's alone, another in each
    /// process, and the same after a restart.
    ///
    /// What it promises: to readers of committed messages (`isolation.level=read_committed`, the
    /// default of librdkafka, not of Java), each message of the topics leads to what its handler
    /// returned once, whatever crashes, moves or is tried again.
    ///
    /// What it does not:
    ///
    /// - Handlers run at least once, and what they do elsewhere is done at least once. Messages
    ///   whose transaction was not made are handled again.
    /// - What handlers publish themselves is no part of it, nor is anything else: this broker
    ///   refuses to publish it
    ///   ([`Refused`](downhaul_consumer::PublishErrorKind::Refused)). Publish by another `Kafka`.
    /// - It cannot be had together with [`dedupe`](downhaul_consumer::Consumer::dedupe), and this
    ///   broker is for one consumer at a time: opening another source fails.
    /// - It is as good as the brokers' transactions, which stand-ins for Kafka often lack, in whole
    ///   or in part. Without KIP-890 (begun in Kafka 3.6, completed in 4.0) a message that was
    ///   delayed on the network can end up in a later transaction, and Jepsen found the protocol to
    ///   lose and to tear some (Bufstream 0.1.0, 2024). Against the worst of it no producer is used
    ///   again after an error.
    ///
    /// What it costs: what is emitted is visible after the next commit, which is made as
    /// [`commit_every`](Self::commit_every) says; it waits in memory until then, and until all
    /// messages of its partition before it are finished. That is what
    /// [`longest_gap`](Self::longest_gap) messages of a partition lead to, and as much again while
    /// a transaction is under way; beyond it a commit is made at once, and the partition is not
    /// read on before. Handlers run side by side as without it, and hold no transaction open: the
    /// property `transaction.timeout.ms`, 60 s unless set, is for the writing alone.
    ///
    /// When a transaction fails, the consumer begins anew from the last one. A message that the
    /// broker refused is known by then, and fails its handling the next time: its message goes to
    /// the dead letters. After a crash in the middle of a transaction, readers of its topics, and
    /// whoever gets the partitions, wait until a process of the same id has begun, or for
    /// `transaction.timeout.ms`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use downhaul_consumer::Broker;
    /// use downhaul_kafka::Kafka;
    ///
    /// let broker = Kafka::new("kafka://localhost:9092")?
    ///     .transactional("billing-1")
    ///     .commit_every(Duration::from_millis(200), 10_000);
    /// assert!(broker.capabilities().transactions);
    /// # Ok::<(), downhaul_consumer::BrokerError>(())
    /// ```
    #[must_use]
    pub fn transactional(mut self, id: impl Into<String>) -> Self {
        self.options.transactions = Some(Arc::new(Transactions::new(id.into())));
        self
    }

    /// Sets where a group goes on in a topic, in all of its partitions, while nobody reads as the
    /// group: to handle messages again, or to leave some out. In a topic for retries, `group` is
    /// the one whose they are, and nobody must read these.
    ///
    /// # Errors
    ///
    /// Somebody reads as the group, there is no such topic, or the cluster did not answer in time.
    /// Where the group goes on is then as it was.
    ///
    /// # Cancel safety
    ///
    /// If it is dropped, it may have been done or not.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use std::time::{Duration, SystemTime};
    /// use downhaul_context::Context;
    /// use downhaul_kafka::{Kafka, Place};
    ///
    /// # #[tokio::main] async fn main() -> Result<(), downhaul_consumer::BrokerError> {
    /// let broker = Kafka::new("kafka://localhost:9092")?;
    /// let yesterday = SystemTime::now() - Duration::from_secs(24 * 60 * 60);
    /// let (ctx, _canceller) = Context::root();
    /// broker.seek(&ctx, "billing", "order.created", Place::Since(yesterday)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn seek(
        &self,
        ctx: &Context,
        group: &str,
        topic: &str,
        to: Place,
    ) -> Result<(), BrokerError> {
        let seeking = self.while_open(seek::seek(&self.options, group, topic, to));
        let sought = ctx.run(seeking).await;
        sought.map_err(|cause| gave_up("set where a group goes on", cause))?
    }

    /// Opens something, as long as this is not closed.
    async fn while_open<T>(
        &self,
        opening: impl Future<Output = Result<T, BrokerError>>,
    ) -> Result<T, BrokerError> {
        self.life.run(opening).await.unwrap_or_else(|_| Err(closed()))
    }

    fn check_open(&self) -> Result<(), BrokerError> {
        if self.life.is_done() { Err(closed()) } else { Ok(()) }
    }
}

#[async_trait]
impl Broker for Kafka {
    fn system(&self) -> &'static str {
        "kafka"
    }

    fn capabilities(&self) -> Capabilities {
        let plain = Capabilities::NONE.with_delay().with_order().with_lanes().with_replay();
        match self.options.transactions {
            Some(_) => plain.with_transactions(),
            None => plain,
        }
    }

    async fn source(
        &self,
        ctx: &Context,
        subscription: &Subscription,
    ) -> Result<Box<dyn Source>, BrokerError> {
        let opening = KafkaSource::open(&self.options, &self.life, subscription);
        let opened = ctx.run(self.while_open(opening)).await;
        let source = opened.map_err(|cause| gave_up("consume from Kafka", cause))??;
        Ok(Box::new(source))
    }

    async fn sink(&self, ctx: &Context) -> Result<Arc<dyn Sink>, BrokerError> {
        self.check_open()?;
        if let Some(transactions) = &self.options.transactions {
            return Ok(Arc::new(OutcomeSink::new(transactions, &self.options, &self.life)));
        }
        let reached = ctx.run(self.while_open(admin::reach(&self.options))).await;
        reached.map_err(|cause| gave_up("publish to Kafka", cause))??;
        Ok(Arc::new(KafkaSink::open(&self.options, &self.life)?))
    }

    fn retract(&self, delivery: Token) {
        if let Some(transactions) = &self.options.transactions {
            transactions.retract(delivery);
        }
    }

    async fn close(&self, ctx: &Context) {
        self.canceller.cancel_with(Reason::cancelled("the broker was closed"));
        // Those that were dropped leave by themselves, if their process lets them.
        let left = tokio::time::timeout(LEAVING, self.options.members.is_empty());
        let _ = ctx.run(left).await;
    }
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.options, f)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::Instant;

    use super::*;

    /// A process that ends before would leave a member behind that its group waits for.
    #[tokio::test(start_paused = true)]
    async fn closing_waits_for_members_to_leave_and_not_for_ever() {
        let ctx = Context::background();
        let kafka = Kafka::new("kafka://localhost").unwrap();
        let member = kafka.options.members.enter();
        let mut closing = kafka.close(&ctx);
        assert_eq!((&mut closing).now_or_never(), None);
        drop(member);
        closing.await;
        assert_eq!(kafka.close(&ctx).now_or_never(), Some(()));

        let (stuck, begun) = (kafka.options.members.enter(), Instant::now());
        kafka.close(&ctx).await;
        assert_eq!(begun.elapsed(), LEAVING);
        drop(stuck);
    }
}
