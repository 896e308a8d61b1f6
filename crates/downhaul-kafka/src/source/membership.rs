//! [`Membership`]: a consumer of a group, and the keeper that keeps it there.
//!
//! A source has two: the topics for retries are shared out by themselves, since an assignor counts
//! partitions and not what is in them.

use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{BrokerError, HeldLanes};
use downhaul_context::Context;
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::Consumer;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use crate::client::Trouble;
use crate::error::{cannot, closed, gave_up};
use crate::options::Options;
use crate::source::callbacks::{Callbacks, Client};
use crate::source::committer::Committer;
use crate::source::health::Health;
use crate::source::keeper::{Bells, Duties, Keeper, Leave, Outcome};
use crate::source::mailbox::Mailbox;
use crate::source::member::Member;
use crate::source::reading::Reading;
use crate::ticket::LaneNumbers;

/// How long a group may take before that is told. One that is empty takes three seconds
/// (`group.initial.rebalance.delay.ms`).
const TELL: Duration = Duration::from_secs(5);

pub(super) struct Membership {
    group: String,
    pub(super) mailbox: Arc<Mailbox>,
    /// Whether the source has heard that its brokers are.
    pub(super) is_away: bool,
    /// Dropped after all queues.
    member: Member,
    bells: Bells,
    leave: Option<Leave>,
    /// Answered once.
    joined: oneshot::Receiver<Outcome>,
}

/// What the memberships of a source have in common.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) numbers: Arc<LaneNumbers>,
    /// Rung when there is something in a mailbox, or in a queue of a partition.
    pub(super) bell: Arc<Notify>,
    pub(super) held: HeldLanes,
}

impl Membership {
    /// Asks a group to be taken in.
    pub(super) fn begin(
        options: &Options,
        reading: Reading,
        committer: Committer,
        shared: &Shared,
    ) -> Result<Self, BrokerError> {
        let Reading { group, topics, config } = reading;
        let (mailbox, bells) = (Arc::new(Mailbox::new(&shared.bell)), Bells::default());
        let entry = options.members.enter();
        let client = join(&config, &topics, &bells.said, options.shows_statistics())?;
        let duties = Duties {
            group: group.clone(),
            commit_interval: options.commit_interval,
            revoke_budget: options.revoke_budget,
            numbers: Arc::clone(&shared.numbers),
            begins_at_end: Options::begins_at_end(&config).then_some(options.connect_timeout),
            reads_uncommitted: Options::reads_uncommitted(&config),
            held: shared.held.clone(),
        };
        let (session, heartbeat) =
            (Options::session_timeout(&config), Options::heartbeat_interval(&config));
        let (servers, topic) = (options.address.to_string(), topics[0].clone());
        let health = Health::new(session, heartbeat, servers, topic, Arc::clone(&mailbox));
        let (leave, left) = oneshot::channel();
        let (joins, joined) = oneshot::channel();
        let (member, mail) = (Member::new(client, entry), Arc::clone(&mailbox));
        let keeper =
            Keeper::new(member.share(), duties, committer, mail, bells.clone(), joins, health);
        tokio::spawn(keeper.run(left));
        let leave = Some(leave);
        Ok(Self { group, mailbox, is_away: false, member, bells, leave, joined })
    }

    /// Waits until the group has taken the consumer in, and tells once where that takes long. It is
    /// waited for once.
    pub(super) async fn joined(&mut self) -> Outcome {
        let answer = match timeout(TELL, &mut self.joined).await {
            Ok(answer) => answer,
            Err(_) => {
                tracing::info!(
                    group = self.group,
                    waited = ?TELL,
                    "waits for its group, which shares out its partitions: members may be \
                     finishing with theirs, for as long as their revoke budget is, or one was \
                     killed, and is waited for until its session is over"
                );
                (&mut self.joined).await
            }
        };
        answer.unwrap_or_else(|_| Err(closed()))
    }

    /// Asks for a commit of what is finished.
    pub(super) fn commit(&self) {
        self.bells.commit.notify_one();
    }

    /// Leaves the group once the last offsets are committed. No queue of its partitions must be
    /// left but in the mailbox.
    pub(super) async fn leave(&mut self, ctx: &Context) -> Outcome {
        // The keeper's is the last then.
        self.member.leave().await;
        let Some(leave) = self.leave.take() else { return Ok(()) };
        let (answer, answered) = oneshot::channel();
        // Nobody to ask: the runtime is shutting down.
        leave.send(answer).map_err(|_| closed())?;
        let answered = ctx.run(answered).await;
        let answered =
            answered.map_err(|cause| gave_up("see the last offsets committed", cause))?;
        answered.unwrap_or_else(|_| Err(closed()))
    }
}

/// A member of a group, which says by the bell that it has something to say.
fn join(
    config: &ClientConfig,
    topics: &[String],
    bell: &Arc<Notify>,
    shows_statistics: bool,
) -> Result<Client, BrokerError> {
    // It was asked for its topics.
    let callbacks = Callbacks::new(Trouble::of(true), shows_statistics);
    let client = Client::from_config_and_context(config, callbacks);
    let mut client = client.map_err(|error| cannot("make a client of Kafka", &error))?;
    let bell = Arc::clone(bell);
    client.set_nonempty_callback(move || bell.notify_one());
    let topics: Vec<_> = topics.iter().map(String::as_str).collect();
    client.subscribe(&topics).map_err(|error| cannot("subscribe", &error))?;
    Ok(client)
}
