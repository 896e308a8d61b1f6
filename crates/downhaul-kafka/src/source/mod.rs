//! [`KafkaSource`]: consuming as a member of a group, and of another for its retries.
//!
//! The source reads records and settles them; the [`Keeper`](keeper::Keeper) of each [`Membership`]
//! keeps it. Between them there is a [`Mailbox`](mailbox::Mailbox) for what the keeper hears, and
//! of each partition the [`Progress`](progress::Progress), in which the source notes what is
//! finished and by which the keeper commits.

mod beginnings;
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
mod membership;
mod progress;
mod reading;
mod statistics;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use downhaul_consumer::{
    BrokerError, Event, HeldLanes, Lane, Settled, Source, Subscription, Token, Verdict,
};
use downhaul_context::Context;
use futures_util::future::{join_all, try_join_all};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::error::{closed, unheard};
use crate::ladder;
use crate::options::Options;
use crate::own;
use crate::source::committer::Committer;
use crate::source::lane::LaneReader;
use crate::source::lanes::Lanes;
pub(crate) use crate::source::mailbox::Tenure;
use crate::source::mailbox::{Notice, Queue};
use crate::source::membership::{Membership, Shared};
use crate::ticket::Ticket;
use crate::transactions::{TransactionalProducer, Turn};

/// How many records of a partition are read before the next has its turn.
const TURN: usize = 64;

pub(crate) struct KafkaSource {
    lanes: Lanes,
    /// The same for others to see, as the keepers know them.
    held: HeldLanes,
    /// Dropped after all queues.
    memberships: Vec<Membership>,
    /// Rung when there is something to hear or to read.
    bell: Arc<Notify>,
    group: String,
    /// Whose topics carry no topic's name.
    own_topics: Vec<String>,
    prefetch: usize,
    longest_gap: usize,
    unsettled: usize,
    /// How many were finished since the keeper was last told to commit, and when it is.
    finished: usize,
    commit_after: usize,
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
        let readings = reading::of(options, group, named, &own_topics)?;

        // Before a group is joined: what is read of it afterwards is what counts.
        let (turn, producer) = Self::producer(options).await?;
        let shared = Shared { numbers: options.lane_numbers(), ..Shared::default() };
        let begun = readings.into_iter().map(|reading| {
            let committer = Committer::new(options.transactions.as_ref(), producer.as_ref());
            Membership::begin(options, reading, committer, &shared)
        });
        let memberships = begun.collect::<Result<_, _>>()?;
        let Shared { bell, held, .. } = shared;
        let mut source = Self {
            lanes: Lanes::default(),
            held,
            memberships,
            bell,
            group: group.to_owned(),
            own_topics,
            prefetch: usize::from(subscription.prefetch()),
            longest_gap: options.longest_gap,
            unsettled: 0,
            finished: 0,
            commit_after: options.commit_after,
            life: life.clone(),
            died: None,
            _turn: turn,
        };
        // Dropped before that, the source leaves again.
        try_join_all(source.memberships.iter_mut().map(Membership::joined)).await?;
        tracing::debug!(group, prefetch = subscription.prefetch(), "consuming");
        Ok(source)
    }

    async fn producer(
        options: &Options,
    ) -> Result<(Option<Turn>, Option<Arc<TransactionalProducer>>), BrokerError> {
        let Some(transactions) = &options.transactions else { return Ok((None, None)) };
        let turn = transactions.admit()?;
        let producer = TransactionalProducer::open(options, transactions).await?;
        Ok((Some(turn), Some(Arc::new(producer))))
    }

    /// Takes in what the keepers have told.
    fn hear(&mut self, events: &mut Vec<Event>) {
        for at in 0..self.memberships.len() {
            for notice in self.memberships[at].mailbox.take() {
                self.heed(at, notice, events);
            }
        }
    }

    /// Of the membership at a place.
    fn heed(&mut self, at: usize, notice: Notice, events: &mut Vec<Event>) {
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
            Notice::Away(error) => {
                if !self.is_away() {
                    events.push(Event::Away(error));
                }
                self.memberships[at].is_away = true;
            }
            Notice::Back => {
                self.memberships[at].is_away = false;
                if !self.is_away() {
                    events.push(Event::Back);
                }
            }
            Notice::Died(error) => {
                self.died.get_or_insert(error);
            }
        }
    }

    /// Whether the brokers of any membership are: they may be others.
    fn is_away(&self) -> bool {
        self.memberships.iter().any(|one| one.is_away)
    }

    fn begin(&mut self, new: Vec<(Arc<Tenure>, Queue)>) -> Vec<Lane> {
        let lanes = new.iter().map(|(tenure, _)| tenure.lane).collect();
        for (tenure, mut queue) in new {
            // Not before the last queue of the partition is gone: it takes any callback with it.
            let bell = Arc::clone(&self.bell);
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
                self.commit();
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
            self.commit();
        }
    }

    fn commit(&self) {
        self.memberships.iter().for_each(Membership::commit);
    }

    /// Lets go of all queues, which must be gone before their client is. Returns whether lanes were
    /// lost that nobody has heard of.
    fn let_go(&mut self) -> bool {
        self.lanes.clear();
        let cleared = self.memberships.iter().map(|one| one.mailbox.clear());
        cleared.fold(false, |has_lost, loses| has_lost | loses)
    }
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
                () = self.bell.notified() => {}
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
        let leaving = self.memberships.iter_mut().map(|one| one.leave(ctx));
        let left = join_all(leaving).await;
        let come_again =
            left.iter().filter_map(|one| one.as_ref().err()).map(BrokerError::come_again);
        let come_again = come_again.sum();
        let left = left.into_iter().collect::<Result<(), _>>();
        left.map_err(|error| error.with_come_again(come_again))?;
        if has_lost { Err(unheard()) } else { Ok(()) }
    }
}

/// Leaves the group, with what is finished committed.
impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.let_go();
    }
}
