//! Topics: which exist, and making those that do not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::BrokerError;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{IsError, RDKafkaErrorCode as Code};
use tokio::time::{Instant, sleep};

use crate::blocking::blocking;
use crate::client::{Asking, Trouble};
use crate::error::{cannot, misconfigured, refused};
use crate::options::Options;
use crate::topics::NewTopics;

/// How long a topic is looked for that was not missed before. A broker hears of a new one a while
/// after whoever made it, mostly some milliseconds; and of all of them a while after it has begun.
pub(crate) const LOOKED_FOR: Duration = Duration::from_secs(2);
/// The longest name of a topic, in bytes.
const LONGEST_NAME: usize = 249;
/// How long an answer is waited for before it is looked what else the client has to say.
const ASK: Duration = Duration::from_millis(500);
/// How often a topic that was made is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Makes sure that topics are there: those that are named, which are only made if that was asked
/// for, and those of groups.
pub(crate) async fn ensure(
    options: &Options,
    named: &[String],
    groups: &[String],
) -> Result<(), BrokerError> {
    let cluster = Cluster::open(options)?;
    let all: Vec<_> = named.iter().chain(groups).cloned().collect();
    let mut missing = cluster.missing(&all).await?;
    if options.topics.is_none() {
        for topic in named.iter().filter(|topic| missing.remove(*topic)) {
            if !cluster.finds(topic, LOOKED_FOR).await? {
                return Err(misconfigured(format!(
                    "there is no topic `{topic}` at {}: make it, or let `Kafka::create_topics` do \
                     so",
                    options.address
                )));
            }
        }
    }
    let named_as = options.topics.as_ref().unwrap_or(&options.groups_topics);
    let how = |topic: &String| {
        if named.contains(topic) { named_as } else { &options.groups_topics }
    };
    let topics: Vec<_> = missing.iter().map(|topic| (topic.as_str(), how(topic))).collect();
    if topics.is_empty() {
        return Ok(());
    }
    create(options, &topics).await?;
    cluster.wait_for(&missing).await
}

/// Asks for any topic: whatever is answered, the cluster can be reached, and lets us in.
pub(crate) async fn reach(options: &Options) -> Result<(), BrokerError> {
    Cluster::open(options)?.ask("__consumer_offsets").await.map(drop)
}

/// Whether there is a topic, or comes to be one within `patience`.
pub(crate) async fn find(
    options: &Options,
    topic: &str,
    patience: Duration,
) -> Result<bool, BrokerError> {
    Cluster::open(options)?.finds(topic, patience).await
}

/// A client that looks. It makes no topic by asking for it.
struct Cluster {
    client: Arc<BaseConsumer<Asking>>,
    options: Options,
}

impl Cluster {
    fn open(options: &Options) -> Result<Self, BrokerError> {
        let client: BaseConsumer<Asking> = options
            .admin()?
            .create_with_context(Asking { trouble: Trouble::of(options.was_reached()) })
            .map_err(|error| cannot("make a client of Kafka", &error))?;
        Ok(Self { client: Arc::new(client), options: options.clone() })
    }

    async fn missing(&self, topics: &[String]) -> Result<BTreeSet<String>, BrokerError> {
        let mut missing = BTreeSet::new();
        for topic in topics {
            if !self.has(topic).await? {
                missing.insert(topic.clone());
            }
        }
        Ok(missing)
    }

    async fn has(&self, topic: &str) -> Result<bool, BrokerError> {
        match self.ask(topic).await? {
            None | Some(Code::LeaderNotAvailable) => Ok(true),
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(false),
            Some(code) => Err(refused(&format!("look for the topic `{topic}`"), code)),
        }
    }

    /// Whether a topic is there, or comes to be within `patience`.
    async fn finds(&self, topic: &str, patience: Duration) -> Result<bool, BrokerError> {
        let until = Instant::now() + patience;
        loop {
            let is_there = self.has(topic).await?;
            if is_there || Instant::now() >= until {
                return Ok(is_there);
            }
            tracing::debug!(topic, "no such topic yet");
            sleep(LOOK_AGAIN).await;
        }
    }

    /// What is wrong with a topic. Gives up when nobody answers in time, and as soon as it is known
    /// that nobody will.
    async fn ask(&self, topic: &str) -> Result<Option<Code>, BrokerError> {
        if topic.len() > LONGEST_NAME {
            // As the broker would say. rdkafka panics over one of more than 512.
            return Ok(Some(Code::InvalidTopic));
        }
        let until = Instant::now() + self.options.connect_timeout;
        loop {
            let (client, name) = (Arc::clone(&self.client), topic.to_owned());
            let answer =
                blocking(move || client.fetch_metadata(Some(&name), ASK).map(|all| state(&all)));
            let error = match answer.await {
                Ok(state) => {
                    self.options.note_reached();
                    return Ok(state);
                }
                Err(error) => error,
            };
            let what = format!("reach Kafka at {}", self.options.address);
            let is_silence = matches!(
                error.rdkafka_error_code(),
                Some(Code::BrokerTransportFailure | Code::OperationTimedOut | Code::Resolve)
            );
            if !is_silence {
                return Err(cannot(&what, &error));
            }
            if self.hear().is_hopeless() || Instant::now() >= until {
                return Err(self.hear().error(&what));
            }
        }
    }

    /// The client knows more of why it cannot reach anybody than its answers say.
    fn hear(&self) -> &Trouble {
        // Some of what it says is no record, and looks like nothing: so it is asked often.
        for _ in 0..32 {
            drop(self.client.poll(Duration::ZERO));
        }
        &self.client.context().trouble
    }

    /// Waits until topics that were made are known to the broker that answers.
    async fn wait_for(&self, topics: &BTreeSet<String>) -> Result<(), BrokerError> {
        let until = Instant::now() + self.options.connect_timeout;
        let mut left: Vec<_> = topics.iter().cloned().collect();
        loop {
            left = self.missing(&left).await?.into_iter().collect();
            match left.first() {
                None => return Ok(()),
                Some(topic) if Instant::now() >= until => {
                    return Err(refused(&format!("see the topic `{topic}` made"), Code::NoEnt));
                }
                Some(_) => sleep(LOOK_AGAIN).await,
            }
        }
    }
}

/// What is wrong with the topic that was asked for.
fn state(metadata: &rdkafka::metadata::Metadata) -> Option<Code> {
    let topic = metadata.topics().first()?;
    topic.error().filter(|error| error.is_error()).map(Code::from)
}

pub(crate) fn client(options: &Options) -> Result<AdminClient<DefaultClientContext>, BrokerError> {
    options.admin()?.create().map_err(|error| cannot("make a client of Kafka", &error))
}

async fn create(options: &Options, topics: &[(&str, &NewTopics)]) -> Result<(), BrokerError> {
    let admin = client(options)?;
    let new: Vec<_> = topics.iter().map(|(name, how)| how.new_topic(name)).collect();
    let within = AdminOptions::new()
        .request_timeout(Some(options.connect_timeout))
        .operation_timeout(Some(options.connect_timeout));
    let answers = admin.create_topics(&new, &within).await;
    let answers = answers.map_err(|error| cannot("make topics", &error))?;
    for answer in answers {
        match answer {
            Ok(topic) => tracing::info!(topic, "topic made"),
            // Somebody else was faster.
            Err((_, Code::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(refused(&format!("make the topic `{topic}`"), code)),
        }
    }
    Ok(())
}
