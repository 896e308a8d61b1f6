//! [`Options`]: what a [`Kafka`](crate::Kafka) was told, and the clients' properties made of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use downhaul_consumer::BrokerError;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use crate::address::Address;
use crate::error::misconfigured;
use crate::ladder::Ladders;
use crate::own::OwnTopics;
use crate::roll::Roll;
use crate::ticket::LaneNumbers;
use crate::topics::NewTopics;
use crate::transactions::Transactions;

/// The one `isolation.level` that transactions can live with, and librdkafka's default.
const COMMITTED: &str = "read_committed";
/// How long a transaction may take unless told otherwise (`transaction.timeout.ms`).
const TRANSACTION: Duration = Duration::from_secs(60);
/// What librdkafka keeps a session for unless told otherwise (`session.timeout.ms`).
const SESSION: Duration = Duration::from_secs(45);
/// How often it says that a member is there unless told otherwise (`heartbeat.interval.ms`).
const HEARTBEAT: Duration = Duration::from_secs(3);
/// How often librdkafka tells what it has counted.
const STATISTICS: &str = "statistics.interval.ms";

/// What consumers are set to unless told otherwise.
const CONSUMER: [(&str, &str); 7] = [
    // A group that is made later reads what was published before.
    ("auto.offset.reset", "earliest"),
    // Only what has to move is taken away when consumers come and go.
    ("partition.assignment.strategy", "cooperative-sticky"),
    // Per partition. What is not taken waits at the broker and not here.
    ("queued.max.messages.kbytes", "8192"),
    // While the next two pass, what was fetched of a partition must last; librdkafka's own (1 s and
    // 500 ms) are for 64 MiB of each.
    ("fetch.queue.backoff.ms", "20"),
    // What asks for topics that are empty, while all others are full, waits so long.
    ("fetch.wait.max.ms", "100"),
    // A topic is found in a while after it was made.
    ("topic.metadata.refresh.interval.ms", "60000"),
    // What tells that brokers are silent, and how far a group is behind.
    (STATISTICS, "1000"),
];

/// What publishers are set to unless told otherwise.
const PRODUCER: [(&str, &str); 7] = [
    // No message twice and none out of order, however often it is sent; waits for all in-sync
    // replicas.
    ("enable.idempotence", "true"),
    ("acks", "all"),
    // After this a receipt says that the outcome is unknown.
    ("delivery.timeout.ms", "30000"),
    // How long a message waits for others to travel with.
    ("linger.ms", "1"),
    // The same partitions for the same keys as clients in Java.
    ("partitioner", "murmur2_random"),
    ("queue.buffering.max.kbytes", "65536"),
    ("allow.auto.create.topics", "false"),
];

/// What is set by other means, or is what the rest relies on.
const OURS: [(&str, &str); 7] = [
    ("bootstrap.servers", "it is the address that the broker was made with"),
    ("metadata.broker.list", "it is the address that the broker was made with"),
    ("group.id", "it is the queue of the subscription"),
    ("enable.auto.commit", "offsets are committed when their messages are settled"),
    ("enable.auto.offset.store", "offsets are committed when their messages are settled"),
    ("enable.partition.eof", "there is nothing that would hear of it"),
    ("transactional.id", "`Kafka::transactional` sets it"),
];

/// Which clients a property is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    All,
    Consumer,
    Producer,
}

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) address: Address,
    pub(crate) properties: Vec<Property>,
    /// How topics that are named by subscriptions and publishes are made, if they are.
    pub(crate) topics: Option<NewTopics>,
    /// How the groups' own are.
    pub(crate) groups_topics: NewTopics,
    pub(crate) own: OwnTopics,
    pub(crate) ladders: Ladders,
    pub(crate) commit_interval: Duration,
    pub(crate) commit_after: usize,
    pub(crate) longest_gap: usize,
    pub(crate) revoke_budget: Duration,
    /// Who has not left their group.
    pub(crate) members: Roll,
    pub(crate) connect_timeout: Duration,
    pub(crate) transactions: Option<Arc<Transactions>>,
    /// Whether any broker was reached.
    reached: Arc<AtomicBool>,
}

#[derive(Clone)]
pub(crate) struct Property {
    role: Role,
    name: String,
    value: String,
}

impl Property {
    pub(crate) fn new(role: Role, name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { role, name: name.into(), value: value.into() }
    }
}

/// Without the value, which may be a secret.
impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.role, self.name)
    }
}

impl Options {
    pub(crate) fn new(address: Address) -> Self {
        let steps = [1, 10, 60, 600, 3_600, 86_400].map(Duration::from_secs);
        Self {
            address,
            properties: Vec::new(),
            topics: None,
            groups_topics: NewTopics::default(),
            own: OwnTopics::new(&steps),
            ladders: Ladders::default(),
            commit_interval: Duration::from_secs(1),
            commit_after: 10_000,
            longest_gap: 1_024,
            revoke_budget: Duration::from_secs(30),
            members: Roll::default(),
            connect_timeout: Duration::from_secs(10),
            transactions: None,
            reached: Arc::default(),
        }
    }

    pub(crate) fn was_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    pub(crate) fn note_reached(&self) {
        self.reached.store(true, Ordering::Relaxed);
    }

    /// The properties of a consumer of a group.
    pub(crate) fn consumer(&self, group: &str) -> Result<ClientConfig, BrokerError> {
        let mut config = self.client(Role::Consumer, &CONSUMER)?;
        config.set("group.id", group);
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        if config.get("heartbeat.interval.ms").is_none() {
            let heartbeat = HEARTBEAT.min(Self::session_timeout(&config) / 3).as_millis().max(1);
            config.set("heartbeat.interval.ms", heartbeat.to_string());
        }
        let level = config.get("isolation.level").unwrap_or(COMMITTED);
        if self.transactions.is_some() && level != COMMITTED {
            let words = "the property `isolation.level` of a transactional broker cannot be set: \
                its transactions rely on reading what is committed alone";
            return Err(misconfigured(words));
        }
        Ok(config)
    }

    /// The properties of a consumer of what was acknowledged where it came from, and nobody else
    /// has: it must not be passed over where the group has no offset yet.
    pub(crate) fn consumer_from_first(&self, group: &str) -> Result<ClientConfig, BrokerError> {
        let mut config = self.consumer(group)?;
        config.set("auto.offset.reset", "earliest");
        Ok(config)
    }

    /// The properties of a producer.
    pub(crate) fn producer(&self) -> Result<ClientConfig, BrokerError> {
        self.client(Role::Producer, &PRODUCER)
    }

    /// The properties of a producer that makes transactions. Their messages have as long as they
    /// have.
    pub(crate) fn transactional_producer(&self, id: &str) -> Result<ClientConfig, BrokerError> {
        let is_theirs = |one: &(&str, &str)| one.0 != "delivery.timeout.ms";
        let defaults: Vec<_> = PRODUCER.into_iter().filter(is_theirs).collect();
        let mut config = self.client(Role::Producer, &defaults)?;
        config.set("transactional.id", id);
        Ok(config)
    }

    /// How long a transaction of such a producer may take.
    pub(crate) fn transaction_timeout(config: &ClientConfig) -> Duration {
        time_of(config, "transaction.timeout.ms").unwrap_or(TRANSACTION)
    }

    /// Whether brokers tell such a producer what they have written.
    pub(crate) fn is_answered(config: &ClientConfig) -> bool {
        config.get("acks") != Some("0")
    }

    /// How long a consumer is kept that is not heard of.
    pub(crate) fn session_timeout(config: &ClientConfig) -> Duration {
        time_of(config, "session.timeout.ms").unwrap_or(SESSION)
    }

    /// How often it says that it is there.
    pub(crate) fn heartbeat_interval(config: &ClientConfig) -> Duration {
        time_of(config, "heartbeat.interval.ms").unwrap_or(HEARTBEAT)
    }

    /// Whether a group begins at the end of a topic.
    pub(crate) fn begins_at_end(config: &ClientConfig) -> bool {
        // As librdkafka calls it.
        config.get("auto.offset.reset").is_some_and(|at| ["latest", "largest", "end"].contains(&at))
    }

    /// Whether it reads what transactions have written before they are committed.
    pub(crate) fn reads_uncommitted(config: &ClientConfig) -> bool {
        config.get("isolation.level").is_some_and(|level| level != COMMITTED)
    }

    /// Whether all that is counted was asked for, and not only what is looked at here.
    pub(crate) fn shows_statistics(&self) -> bool {
        self.properties.iter().any(|one| one.name == STATISTICS)
    }

    /// Where lanes get their numbers from.
    pub(crate) fn lane_numbers(&self) -> Arc<LaneNumbers> {
        let shared = self.transactions.as_ref();
        shared.map(|transactions| Arc::clone(&transactions.lanes)).unwrap_or_default()
    }

    /// The properties of a client that only looks, and makes topics.
    pub(crate) fn admin(&self) -> Result<ClientConfig, BrokerError> {
        self.client(Role::All, &[])
    }

    fn client(&self, role: Role, defaults: &[(&str, &str)]) -> Result<ClientConfig, BrokerError> {
        self.check()?;
        let mut config = ClientConfig::new();
        // What of it is wanted is said by the property `debug`, and by the filters of `tracing`.
        config.set_log_level(RDKafkaLogLevel::Debug);
        config.set("bootstrap.servers", self.address.servers()).set("client.id", "downhaul");
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        for one in self.properties.iter().filter(|one| [Role::All, role].contains(&one.role)) {
            if one.has_unit() {
                let Property { name, .. } = one;
                let words = "takes a number alone, in the unit that ends its name";
                return Err(misconfigured(format!("the property `{name}` {words}")));
            }
            config.set(&one.name, &one.value);
        }
        Ok(config)
    }

    fn check(&self) -> Result<(), BrokerError> {
        let ours = |property: &Property| OURS.iter().find(|(name, _)| *name == property.name);
        match self.properties.iter().find_map(ours) {
            Some((name, why)) => {
                Err(misconfigured(format!("the property `{name}` cannot be set: {why}")))
            }
            None => Ok(()),
        }
    }
}

impl Property {
    /// Whether its value has a unit where its name has one. librdkafka takes `6s` for 6 ms.
    fn has_unit(&self) -> bool {
        let ends = [".ms", ".bytes", ".kbytes"];
        let number = self.value.strip_prefix('-').unwrap_or(&self.value);
        ends.iter().any(|unit| self.name.ends_with(unit))
            && !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    }
}

fn time_of(config: &ClientConfig, property: &str) -> Option<Duration> {
    config.get(property)?.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(properties: &[(Role, &str, &str)]) -> Options {
        let mut options = Options::new(Address::parse("localhost").unwrap());
        let property = |one: &(Role, &str, &str)| Property::new(one.0, one.1, one.2);
        options.properties = properties.iter().map(property).collect();
        options
    }

    #[test]
    fn a_number_with_a_unit_is_refused_where_the_name_has_one() {
        for (name, value) in [("session.timeout.ms", "6s"), ("fetch.max.bytes", "1 MiB")] {
            let error = options(&[(Role::Consumer, name, value)]).consumer("g").unwrap_err();
            assert!(error.to_string().contains(name) && !error.to_string().contains(value));
        }
        for (name, value) in [("linger.ms", "0.5"), ("socket.timeout.ms", "-1"), ("acks", "all")] {
            options(&[(Role::All, name, value)]).producer().unwrap();
        }
    }

    #[test]
    fn what_was_told_comes_before_what_is_usual_and_only_where_it_belongs() {
        let told = [
            (Role::Producer, "linger.ms", "50"),
            (Role::Consumer, "auto.offset.reset", "latest"),
            (Role::All, "security.protocol", "ssl"),
        ];
        let options = options(&told);
        let (consumer, producer) = (options.consumer("g").unwrap(), options.producer().unwrap());
        assert_eq!(consumer.get("auto.offset.reset"), Some("latest"));
        assert_eq!((consumer.get("linger.ms"), producer.get("linger.ms")), (None, Some("50")));
        assert_eq!(producer.get("acks"), Some("all"));
        assert_eq!(options.admin().unwrap().get("security.protocol"), Some("ssl"));
    }

    #[test]
    fn a_short_session_is_told_of_in_time_unless_that_is_set() {
        let heartbeat = |told: &[(Role, &str, &str)]| {
            let config = options(told).consumer("g").unwrap();
            config.get("heartbeat.interval.ms").map(str::to_owned)
        };
        let session = |millis| (Role::Consumer, "session.timeout.ms", millis);
        assert_eq!(heartbeat(&[]).as_deref(), Some("3000"));
        assert_eq!(heartbeat(&[session("6000")]).as_deref(), Some("2000"));
        let told = (Role::Consumer, "heartbeat.interval.ms", "2500");
        assert_eq!(heartbeat(&[session("6000"), told]).as_deref(), Some("2500"));
    }

    /// The table is a part of the crate's page.
    #[test]
    fn the_table_of_defaults_says_what_is_set() {
        let table = include_str!("defaults.md");
        let rows = table.lines().filter(|line| line.starts_with("| `"));
        let said = rows.map(|row| row.splitn(4, " | ").take(2).collect::<Vec<_>>().join(" | "));
        let all = CONSUMER.iter().chain(&PRODUCER);
        let set = all.map(|(name, value)| format!("| `{name}` | `{value}`"));
        assert_eq!(said.collect::<Vec<_>>(), set.collect::<Vec<_>>());
    }

    #[test]
    fn what_the_rest_relies_on_cannot_be_set() {
        let error =
            options(&[(Role::All, "enable.auto.commit", "true")]).consumer("g").unwrap_err();
        assert!(error.is_permanent() && error.to_string().contains("enable.auto.commit"));
    }

    #[test]
    fn a_producer_of_transactions_has_its_id_and_a_time_that_is_its_own() {
        let told = options(&[(Role::Producer, "transaction.timeout.ms", "5000")]);
        let config = told.transactional_producer("billing").unwrap();
        assert_eq!(config.get("transactional.id"), Some("billing"));
        assert_eq!(config.get("enable.idempotence"), Some("true"));
        assert_eq!(config.get("delivery.timeout.ms"), None);
        assert_eq!(Options::transaction_timeout(&config), Duration::from_secs(5));
        let error = options(&[(Role::All, "transactional.id", "mine")]).producer();
        assert!(error.unwrap_err().to_string().contains("Kafka::transactional"));
    }

    #[test]
    fn no_value_of_a_property_is_shown() {
        let options = options(&[(Role::All, "sasl.password", "hush")]);
        let shown = format!("{options:?}");
        assert!(shown.contains("sasl.password") && !shown.contains("hush"), "{shown}");
    }
}
