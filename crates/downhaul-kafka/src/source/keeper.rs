//! [`Keeper`]: keeps a consumer in its group.
//!
//! A task of its own, so that no handler holds it up. It serves librdkafka's common queue, which is
//! what keeps the membership (`max.poll.interval.ms`), hears of changes of partitions, commits, and
//! sees when no broker can be reached any more. Records do not come by it: each partition gets a
//! queue of its own before it is begun, which the source reads when it has room. So nothing has to
//! be paused to hold records back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use downhaul_consumer::{BrokerError, HeldLanes, Lane, Name, Revoking};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::Offset;
use tokio::sync::{Notify, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::error::{self, cannot, unheard, unreachable};
use crate::source::beginnings::Beginnings;
use crate::source::callbacks::{Client, Said, give_up, note, take_up};
use crate::source::committer::{Committer, Ended};
use crate::source::complaint;
use crate::source::health::Health;
use crate::source::kept::{Kept, Key, keys};
use crate::source::mailbox::{Mailbox, Notice, Tenure};
use crate::source::member::Member;
use crate::source::statistics::Statistics;
use crate::ticket::LaneNumbers;

/// What a keeper goes by.
pub(super) struct Duties {
    pub(super) group: String,
    pub(super) commit_interval: Duration,
    pub(super) revoke_budget: Duration,
    pub(super) numbers: Arc<LaneNumbers>,
    /// If a group begins at the end of its topics, how long a look for that may take.
    pub(super) begins_at_end: Option<Duration>,
    /// Whether messages count of which it is not known yet whether they are committed.
    pub(super) reads_uncommitted: bool,
    /// Shows the partitions to others.
    pub(super) held: HeldLanes,
}

/// What wakes a keeper.
#[derive(Clone, Default)]
pub(super) struct Bells {
    /// Rung by librdkafka when it has something to say.
    pub(super) said: Arc<Notify>,
    /// Rung by a source that has a lot to commit.
    pub(super) commit: Arc<Notify>,
}

/// Asks the keeper to leave the group; it answers whether the last commit has reached the broker.
/// Dropping it asks for the same.
pub(super) type Leave = oneshot::Sender<oneshot::Sender<Result<(), BrokerError>>>;

/// Hears that the group has taken this consumer in, or why it does not.
pub(super) type Joined = oneshot::Sender<Outcome>;

pub(super) struct Keeper {
    member: Member,
    duties: Duties,
    committer: Committer,
    mailbox: Arc<Mailbox>,
    bells: Bells,
    lanes: BTreeMap<Key, Kept>,
    beginnings: Beginnings,
    /// Partitions that are to go, each completing when they may.
    leaving: FuturesUnordered<BoxFuture<'static, Going>>,
    /// Taken out of the lanes, and their last commit is under way.
    going: Vec<Kept>,
    /// Those that librdkafka waits for to be given up.
    unanswered: Option<TopicPartitionList>,
    /// Told once the group has taken this consumer in.
    joined: Option<Joined>,
    health: Health,
}

/// Partitions on their way to others, and whether all that was begun of them is finished.
struct Going {
    partitions: TopicPartitionList,
    is_finished: bool,
}

impl Keeper {
    pub(super) fn new(
        member: Member,
        duties: Duties,
        committer: Committer,
        mailbox: Arc<Mailbox>,
        bells: Bells,
        joined: Joined,
        health: Health,
    ) -> Self {
        Self {
            member,
            duties,
            committer,
            mailbox,
            bells,
            lanes: BTreeMap::new(),
            beginnings: Beginnings::default(),
            leaving: FuturesUnordered::new(),
            going: Vec::new(),
            unanswered: None,
            joined: Some(joined),
            health,
        }
    }

    /// Until the source asks to leave, or is gone.
    pub(super) async fn run(mut self, left: oneshot::Receiver<oneshot::Sender<Outcome>>) {
        let mut left = left;
        let answer = tokio::select! {
            asked = &mut left => asked.ok(),
            error = self.keep() => {
                match self.joined.take() {
                    Some(joined) => drop(joined.send(Err(error))),
                    None => self.mailbox.put(Notice::Died(error)),
                }
                left.await.ok()
            }
        };
        let outcome = self.leave().await;
        // Whether anybody waits for it or not.
        answer.map(|answer| answer.send(outcome));
    }

    /// Returns why it cannot go on. Whatever it was at can be dropped.
    async fn keep(&mut self) -> BrokerError {
        let mut commit = interval(self.duties.commit_interval);
        commit.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let bells = self.bells.clone();
        loop {
            let client = match self.serve() {
                Ok(client) => client,
                Err(error) => return error,
            };
            tokio::select! {
                () = bells.said.notified() => {}
                () = bells.commit.notified() => self.commit(&client),
                _ = commit.tick() => self.commit(&client),
                found = self.beginnings.next() => {
                    match found.and_then(|found| self.take_up(&client, &found)) {
                        Ok(()) => self.commit(&client),
                        Err(error) => return error,
                    }
                }
                Some(going) = self.leaving.next() => self.let_go(&client, going).await,
                ended = self.committer.next() => match ended {
                    Ok(ended) => self.note_committed(&client, &ended),
                    Err(error) => return error,
                },
                lost = self.health.check(&client) => return lost,
            }
        }
    }

    /// Hears all that librdkafka has to say.
    fn serve(&mut self) -> Result<Arc<Client>, BrokerError> {
        let client = Arc::clone(self.member.client()?);
        loop {
            let heard = client.context().count();
            match client.poll(Duration::ZERO) {
                Some(Ok(record)) => return Err(complaint::astray(&record)),
                Some(Err(error)) => self.complain(&client, &error)?,
                // Or it has said something that is no record.
                None if client.context().count() == heard => break,
                None => {}
            }
            for said in client.context().take() {
                self.hear(&client, said)?;
            }
            client.context().take_statistics().into_iter().for_each(|seen| self.look(&seen));
        }
        Ok(client)
    }

    fn look(&mut self, statistics: &Statistics) {
        let reads_uncommitted = self.duties.reads_uncommitted;
        for kept in self.lanes.values() {
            let tenure = &kept.tenure;
            let (unfinished, finished) = tenure.position();
            let partition = (tenure.topic.as_str(), tenure.partition);
            let lag = statistics.lag(partition, unfinished, finished, reads_uncommitted);
            self.duties.held.put(tenure.lane, tenure.held().with_lag(lag));
        }
        let partitions = self.lanes.keys().map(|(topic, partition)| (topic.as_str(), *partition));
        self.health.note(statistics.silence(partitions));
    }

    fn complain(&mut self, client: &Client, error: &KafkaError) -> Result<(), BrokerError> {
        if error.rdkafka_error_code() == Some(Code::AllBrokersDown) {
            self.health.doubt();
        }
        let group = &self.duties.group;
        complaint::judge(error, group)?;
        let what = format!("stay in the consumer group `{group}`");
        let permanent = client.context().trouble.permanent(&what);
        permanent.map_or(Ok(()), Err)
    }

    fn hear(&mut self, client: &Arc<Client>, said: Said) -> Result<(), BrokerError> {
        match said {
            Said::Assign(partitions) => self.begin(client, partitions)?,
            Said::Revoke(partitions) if client.assignment_lost() => self.lose(client, &partitions),
            Said::Revoke(partitions) => self.revoke(partitions),
        }
        Ok(())
    }

    fn begin(
        &mut self,
        client: &Arc<Client>,
        partitions: TopicPartitionList,
    ) -> Result<(), BrokerError> {
        match self.duties.begins_at_end.filter(|_| partitions.count() > 0) {
            Some(within) => self.beginnings.find(self.member.share(), partitions, within),
            None => self.take_up(client, &partitions)?,
        }
        Ok(())
    }

    /// A partition that was once split off stays so, also while somebody else has it: that is
    /// librdkafka's rule. So it is done at the beginning of each tenure, and before anything comes.
    fn take_up(
        &mut self,
        client: &Arc<Client>,
        partitions: &TopicPartitionList,
    ) -> Result<(), BrokerError> {
        self.health.is_well();
        let mut new = Vec::new();
        for one in partitions.elements() {
            let (topic, partition) = (one.topic().to_owned(), one.partition());
            let lane = self.duties.numbers.next();
            let tenure = Tenure::new(lane, Name::from(&topic), partition);
            if let Offset::Offset(first) = one.offset() {
                tenure.progress().begin(first);
            }
            let tenure = Arc::new(tenure);
            let queue = client.split_partition_queue(&topic, partition);
            new.push((Arc::clone(&tenure), queue.ok_or_else(|| no_queue(&tenure))?));
            self.committer.assigned(&tenure);
            self.duties.held.put(lane, tenure.held());
            self.lanes.insert((topic, partition), Kept { tenure, committed: None });
        }
        tracing::debug!(count = new.len(), "partitions assigned");
        if !new.is_empty() {
            self.mailbox.put(Notice::Assigned(new));
        }
        take_up(client, partitions).map_err(|error| cannot("begin partitions", &error))?;
        self.joined.take().map(|joined| joined.send(Ok(())));
        Ok(())
    }

    /// Asks the source to finish with partitions. They go when it has, or when the budget is over.
    fn revoke(&mut self, partitions: TopicPartitionList) {
        self.take_back(&partitions);
        let lanes = self.lanes_of(&partitions);
        let budget = self.duties.revoke_budget;
        let (revoking, free) = Revoking::new(lanes.clone());
        let revoking = revoking.with_budget(budget);
        self.unanswered = Some(partitions.clone());
        let going = async move {
            let is_finished = timeout(budget, free).await.is_ok();
            Going { partitions, is_finished }
        };
        self.leaving.push(going.boxed());
        if !lanes.is_empty() {
            self.mailbox.put(Notice::Revoking(revoking));
        }
    }

    /// Ends those that the source has not heard of, so that nobody waits until it has. It hears
    /// nothing before it has joined all its groups.
    fn take_back(&mut self, partitions: &TopicPartitionList) {
        let taken = self.mailbox.take_back(&self.lanes_of(partitions));
        let is_taken = |kept: &Kept| taken.contains(&kept.tenure.lane);
        let mut gone = keys(partitions);
        gone.retain(|key| self.lanes.get(key).is_some_and(is_taken));
        self.end(gone);
    }

    /// Commits what was finished of partitions, and lets them go. If this is dropped, that is left
    /// to [`leave`](Self::leave).
    async fn let_go(&mut self, client: &Arc<Client>, going: Going) {
        let Going { partitions, is_finished } = going;
        self.going = self.end(keys(&partitions));
        let is_committed = self.is_committed(client).await;
        let gone = std::mem::take(&mut self.going);
        let stranded: usize = gone.iter().map(Kept::tell_stranded).sum();
        let is_kept = is_committed && is_finished && stranded == 0;
        note(give_up(client, &partitions));
        self.unanswered = None;
        let lanes = gone.iter().map(|kept| kept.tenure.lane).collect();
        let notice = if is_kept { Notice::Gone } else { Notice::Lost };
        self.mailbox.put(notice(lanes));
    }

    /// Whether all that was finished of those that go is committed now.
    async fn is_committed(&mut self, client: &Arc<Client>) -> bool {
        if client.assignment_lost() {
            return false;
        }
        let committed = self.committer.finish(client, &mut self.going).await;
        if let Err(error) = &committed {
            let error = error.chain();
            tracing::warn!(error, "what was finished of partitions may come again");
        }
        committed.is_ok()
    }

    /// Partitions that others have already.
    fn lose(&mut self, client: &Client, partitions: &TopicPartitionList) {
        let gone = self.end(keys(partitions));
        note(give_up(client, partitions));
        tracing::warn!(
            count = gone.len(),
            "partitions lost: the group has not heard this consumer for a session, or this \
             consumer the group; one of them was away or frozen"
        );
        self.mailbox.put(Notice::Lost(gone.iter().map(|kept| kept.tenure.lane).collect()));
    }

    /// Takes partitions out. What is finished of them from now on does not count.
    fn end(&mut self, keys: Vec<Key>) -> Vec<Kept> {
        let gone: Vec<_> = keys.iter().filter_map(|key| self.lanes.remove(key)).collect();
        for kept in &gone {
            kept.tenure.progress().end();
            self.duties.held.remove(kept.tenure.lane);
        }
        gone
    }

    fn lanes_of(&self, partitions: &TopicPartitionList) -> Vec<Lane> {
        let kept = keys(partitions).into_iter().filter_map(|key| self.lanes.get(&key));
        kept.map(|kept| kept.tenure.lane).collect()
    }

    /// Asks the broker to note what was finished since it last answered.
    fn commit(&mut self, client: &Arc<Client>) {
        if self.committer.begin(client, self.lanes.values_mut()) {
            self.mailbox.bell.notify_one();
        }
    }

    fn note_committed(&mut self, client: &Arc<Client>, ended: &Ended) {
        if let Some(offsets) = &ended.committed {
            self.health.is_well();
            for one in offsets.elements() {
                let kept = self.lanes.get_mut(&(one.topic().to_owned(), one.partition()));
                if let (Some(kept), Offset::Offset(offset)) = (kept, one.offset()) {
                    kept.committed = Some(offset);
                }
            }
        }
        if ended.is_more_wanted {
            self.commit(client);
        }
    }

    /// Commits for the last time and leaves the group, so that others have the partitions at once.
    async fn leave(&mut self) -> Outcome {
        let client = Arc::clone(self.member.client()?);
        let mut lanes = std::mem::take(&mut self.going);
        lanes.extend(std::mem::take(&mut self.lanes).into_values());
        lanes.iter().for_each(|kept| kept.tenure.progress().end());
        let committed = match client.assignment_lost() {
            true if lanes.iter().any(Kept::has_uncommitted) => Err(unheard()),
            true => Ok(()),
            false => self.committer.finish(&client, &mut lanes).await,
        };
        drop(client);
        self.answer_all();
        // Queues must be gone before their client.
        let has_lost = self.mailbox.clear();
        self.member.leave().await;
        let stranded = lanes.iter().map(Kept::tell_stranded).sum();
        committed?;
        match (has_lost, stranded) {
            (true, _) => Err(unheard()),
            (false, 0) => Ok(()),
            (false, count) => Err(error::stranded(count)),
        }
    }

    /// What librdkafka still waits for would keep it from leaving.
    fn answer_all(&mut self) {
        let Ok(client) = self.member.client() else { return };
        let unanswered = self.unanswered.take().map(Said::Revoke);
        let unanswered = unanswered.into_iter().chain(self.beginnings.give_up().map(Said::Assign));
        for said in unanswered.chain(client.context().leave()) {
            match said {
                Said::Assign(partitions) => note(take_up(client, &partitions)),
                Said::Revoke(partitions) => note(give_up(client, &partitions)),
            }
        }
    }
}

/// Also where the task is dropped half-way, with its runtime.
impl Drop for Keeper {
    fn drop(&mut self) {
        self.answer_all();
        drop(self.mailbox.take());
    }
}

/// Whether a commit has reached the broker.
pub(super) type Outcome = Result<(), BrokerError>;

fn no_queue(tenure: &Tenure) -> BrokerError {
    let Tenure { topic, partition, .. } = tenure;
    unreachable(format!("partition {partition} of `{topic}` has no queue"))
}
