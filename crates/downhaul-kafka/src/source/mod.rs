//! [`KafkaSource`]: consuming as a member of a group.
//!
//! The source reads records and settles them; its [`Keeper`] keeps the membership. Between them
//! there is a [`Mailbox`] for what the keeper hears, and of each partition the
//! [`Progress`](progress::Progress), in which the source notes what is finished and by which the
//! keeper commits.

mod callbacks;
mod committer;
mod complaint;
mod health;
mod keeper;
mod kept;
mod lane;
mod lanes;
mod mailbox;
mod member;
mod progress;
mod statistics;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::{
    BrokerError, Event, HeldLanes, Lane, Settled, Source, Subscription, Token, Verdict,
};
use downhaul_context::Context;
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::Consumer;
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};

use crate::client::Trouble;
use crate::error::{cannot, closed, gave_up, unheard};
use crate::ladder;
use crate::options::Options;
use crate::own;
use crate::seek;
use crate::source::callbacks::{Callbacks, Client};
use crate::source::committer::{Committer, Plain, Rounds};
use crate::source::health::Health;
use crate::source::keeper::{Bells, Duties, Keeper, Leave};
use crate::source::lane::LaneReader;
use crate::source::lanes::Lanes;
pub(crate) use crate::source::mailbox::Tenure;
use crate::source::mailbox::{Mailbox, Notice, Queue};
use crate::source::member::Member;
use crate::ticket::Ticket;
use crate::transactions::{TransactionalProducer, Turn};

/// How many records of a partition are read before the next has its turn.
const TURN: usize = 64;

/// How long a group may take before that is told. One that is empty takes three seconds
/// (`group.initial.rebalance.delay.ms`).
const TELL: Duration = Duration::from_secs(5);

pub(crate) struct KafkaSource {
    lanes: Lanes,
    /// The same for others to see, as the keeper knows them.
    held: HeldLanes,
    mailbox: Arc<Mailbox>,
    /// Dropped after all queues.
    member: Member,
    group: String,
    /// Whose topics carry no topic's name.
    own_topics: Vec<String>,
    prefetch: usize,
    longest_gap: usize,
    unsettled: usize,
    /// How many were finished since the keeper was last told to commit, and when it is.
    finished: usize,
    commit_after: usize,
    bells: Bells,
    leave: Option<Leave>,
    /// Ends when the broker is closed.
    life: Context,
    /// Why nothing more will come.
    died: Option<BrokerError>,
    /// Of a transactional broker, which has one source at a time.
    _turn: Option<Turn>,
}

impl KafkaSource {
    pub(crate) async fn open(
        options: &Options,
        life: &Context,
        subscription: &Subscription,
    ) -> Result<Self, BrokerError> {
        let group = subscription.queue();
        let named: Vec<_> = subscription.topics().map(str::to_owned).collect();
        let own_topics = ladder::ensure(options, subscription, &named).await?;
        seek::begin_own(options, group, &own_topics).await?;

        // Before the group is joined: what is read of it afterwards is what counts.
        let (turn, committer) = Self::committer(options).await?;
        let config = options.consumer(group)?;
        let (mailbox, bells) = (Arc::new(Mailbox::default()), Bells::default());
        let entry = options.members.enter();
        let client = join(&config, &bells.said, options.shows_statistics())?;
        let mut topics: Vec<_> = named.iter().chain(&own_topics).map(String::as_str).collect();
        // librdkafka takes none twice.
        topics.sort_unstable();
        topics.dedup();
        client.subscribe(&topics).map_err(|error| cannot("subscribe", &error))?;
        let (leave, left) = oneshot::channel();
        let held = HeldLanes::default();
        let duties = Duties {
            commit_interval: options.commit_interval,
            revoke_budget: options.revoke_budget,
            numbers: options.lane_numbers(),
            reads_uncommitted: Options::reads_uncommitted(&config),
            held: held.clone(),
        };
        let (servers, topic) = (options.address.to_string(), topics[0].to_owned());
        let (session, heartbeat) =
            (Options::session_timeout(&config), Options::heartbeat_interval(&config));
        let mail = Arc::clone(&mailbox);
        let health = Health::new(session, heartbeat, servers, topic, Arc::clone(&mailbox));
        let (joined, has_joined) = oneshot::channel();
        let member = Member::new(client, entry);
        let keeper =
            Keeper::new(member.share(), duties, committer, mail, bells.clone(), joined, health);
        tokio::spawn(keeper.run(left));
        let source = Self {
            lanes: Lanes::default(),
            held,
            mailbox,
            member,
            group: group.to_owned(),
            own_topics,
            prefetch: usize::from(subscription.prefetch()),
            longest_gap: options.longest_gap,
            unsettled: 0,
            finished: 0,
            commit_after: options.commit_after,
            bells,
            leave: Some(leave),
            life: life.clone(),
            died: None,
            _turn: turn,
        };
        // Dropped before that, the source leaves again.
        until_joined(has_joined, group).await?;
        tracing::debug!(group, prefetch = subscription.prefetch(), "consuming");
        Ok(source)
    }

    async fn committer(options: &Options) -> Result<(Option<Turn>, Committer), BrokerError> {
        let Some(transactions) = &options.transactions else {
            return Ok((None, Committer::Plain(Plain::default())));
        };
        let turn = transactions.admit()?;
        let producer = TransactionalProducer::open(options, transactions).await?;
        let rounds = Rounds::new(transactions, producer);
        Ok((Some(turn), Committer::Transactional(rounds)))
    }

    /// Takes in what the keeper has told.
    fn hear(&mut self, events: &mut Vec<Event>) {
        for notice in self.mailbox.take() {
            match notice {
                Notice::Assigned(new) => events.push(Event::Assigned(self.begin(new))),
                Notice::Revoking(revoking) => {
                    for lane in revoking.lanes() {
                        self.lanes.get(*lane).into_iter().for_each(LaneReader::leave);
                    }
                    events.push(Event::Revoking(revoking));
                }
                Notice::Gone(lanes) => self.unsettled -= self.lanes.remove(&lanes),
                Notice::Lost(lanes) => {
                    self.unsettled -= self.lanes.remove(&lanes);
                    events.push(Event::Lost(lanes));
                }
                Notice::Away(error) => events.push(Event::Away(error)),
                Notice::Back => events.push(Event::Back),
                Notice::Died(error) => self.died = Some(error),
            }
        }
    }

    fn begin(&mut self, new: Vec<(Arc<Tenure>, Queue)>) -> Vec<Lane> {
        let lanes = new.iter().map(|(tenure, _)| tenure.lane).collect();
        for (tenure, mut queue) in new {
            // Not before the last queue of the partition is gone: it takes any callback with it.
            let bell = Arc::clone(&self.mailbox.bell);
            queue.set_nonempty_callback(move || bell.notify_one());
            let names_topic = !self.own_topics.iter().any(|own| tenure.topic == **own);
            let step = own::step(&self.group, &tenure.topic);
            self.lanes.add(LaneReader::new(tenure, queue, names_topic, step));
        }
        lanes
    }

    /// Reads some of each partition in turn, until there is no room or none is left.
    fn read(&mut self, events: &mut Vec<Event>) -> Result<(), BrokerError> {
        let mut empty = 0;
        while self.unsettled < self.prefetch && empty < self.lanes.len() {
            let room = (self.prefetch - self.unsettled).min(TURN);
            let Some(lane) = self.lanes.next() else { break };
            let count = lane.read(room, self.longest_gap, events)?;
            if lane.waits_for_commit() {
                self.bells.commit.notify_one();
            }
            self.unsettled += count;
            empty = if count == 0 { empty + 1 } else { 0 };
        }
        Ok(())
    }

    /// How long until there is something to do besides what is told.
    fn next_due(&self) -> Option<Duration> {
        let has_room = self.unsettled < self.prefetch;
        let due = self.lanes.iter().filter(|_| has_room).filter_map(LaneReader::due_in);
        due.chain(self.lanes.iter().filter_map(LaneReader::tell_in)).min()
    }

    fn note_finished(&mut self, count: usize) {
        self.finished += count;
        if self.finished >= self.commit_after {
            self.finished = 0;
            self.bells.commit.notify_one();
        }
    }

    /// Lets go of all queues, which must be gone before their client is. Returns whether lanes were
    /// lost that nobody has heard of.
    fn let_go(&mut self) -> bool {
        self.lanes.clear();
        self.mailbox.clear()
    }
}

/// A member of a group, which says by the bell that it has something to say.
fn join(
    config: &ClientConfig,
    bell: &Arc<Notify>,
    shows_statistics: bool,
) -> Result<Client, BrokerError> {
    // It was asked for its topics.
    let callbacks = Callbacks::new(Trouble::of(true), shows_statistics);
    let client = Client::from_config_and_context(config, callbacks);
    let mut client = client.map_err(|error| cannot("make a client of Kafka", &error))?;
    let bell = Arc::clone(bell);
    client.set_nonempty_callback(move || bell.notify_one());
    Ok(client)
}

/// Waits until the group has taken the consumer in, and tells once where that takes long.
async fn until_joined(
    mut joined: oneshot::Receiver<Result<(), BrokerError>>,
    group: &str,
) -> Result<(), BrokerError> {
    let answer = match timeout(TELL, &mut joined).await {
        Ok(answer) => answer,
        Err(_) => {
            tracing::info!(
                group,
                waited = ?TELL,
                "waits for its group, which shares out its partitions: members may be finishing \
                 with theirs, for as long as their revoke budget is, or one was killed, and is \
                 waited for until its session is over"
            );
            joined.await
        }
    };
    answer.unwrap_or_else(|_| Err(closed()))
}

#[async_trait]
impl Source for KafkaSource {
    fn held_lanes(&self) -> HeldLanes {
        self.held.clone()
    }

    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), BrokerError> {
        let had = events.len();
        loop {
            // Before looking, so that nothing comes unheard in between: the bell remembers.
            self.hear(events);
            if let Some(error) = self.died.take() {
                return Err(error);
            }
            self.read(events)?;
            self.lanes.iter_mut().for_each(LaneReader::tell);
            if events.len() > had {
                return Ok(());
            }
            let due = self.next_due();
            tokio::select! {
                () = self.mailbox.bell.notified() => {}
                () = sleep(due.unwrap_or_default()), if due.is_some() => {}
                _ = self.life.done() => return Err(closed()),
            }
        }
    }

    async fn settle(&mut self, batch: &[(Token, Verdict)]) -> Result<Settled, BrokerError> {
        let (mut lost, mut finished) = (Vec::new(), 0);
        for &(token, verdict) in batch {
            let ticket = Ticket::of(token);
            let lane = self.lanes.get(ticket.lane);
            if lane.is_some_and(|lane| lane.settle(ticket, verdict)) {
                self.unsettled -= 1;
                finished += usize::from(verdict == Verdict::Ack);
            } else {
                lost.push(token);
            }
        }
        self.note_finished(finished);
        Ok(Settled::written().with_lost(lost))
    }

    async fn set_prefetch(&mut self, prefetch: u16) -> Result<(), BrokerError> {
        self.prefetch = usize::from(prefetch);
        Ok(())
    }

    async fn close(mut self: Box<Self>, ctx: &Context) -> Result<(), BrokerError> {
        let has_lost = self.let_go();
        // The keeper's is the last then.
        self.member.leave().await;
        let Some(leave) = self.leave.take() else { return Ok(()) };
        let (answer, answered) = oneshot::channel();
        // Nobody to ask: the runtime is shutting down.
        leave.send(answer).map_err(|_| closed())?;
        let answered = ctx.run(answered).await;
        let answered =
            answered.map_err(|cause| gave_up("see the last offsets committed", cause))?;
        answered.unwrap_or_else(|_| Err(closed()))?;
        if has_lost { Err(unheard()) } else { Ok(()) }
    }
}

/// Leaves the group, with what is finished committed.
impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.let_go();
    }
}
