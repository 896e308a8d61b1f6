//! Consuming from the log, as one member of a group.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use downhaul_context::Context;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::broker::{Delivery, Event, Lane, Revoking, Settled, Source, Token, Verdict};
use crate::error::{BrokerError, BrokerErrorKind};
use crate::memory_log::group::{Found, Group, Held, Member};
use crate::memory_log::log::Record;
use crate::memory_log::state::{Epoch, Shared, State};
use crate::message::Name;
use crate::origin::Position;
use crate::subscription::Subscription;

const AGAIN: &str = "finished messages come again that lie behind unfinished ones of a partition";

pub(super) struct LogSource {
    shared: Arc<Shared>,
    epoch: Epoch,
    group: Name,
    member: Member,
    news: Arc<Notify>,
    prefetch: usize,
    /// What was told of the partitions that are this source's.
    told: Vec<Told>,
    /// The version of the group that was told.
    version: u64,
    /// Whose turn it is to be read.
    turn: usize,
    unsettled: HashMap<Token, Ticket>,
    tokens: u32,
    /// Lanes that are to go, each completing when it may.
    freeing: FuturesUnordered<BoxFuture<'static, Vec<Held>>>,
    /// Lanes that went with something finished behind what was not, and nobody was told.
    stranded: Vec<Lane>,
}

#[derive(Clone, Copy)]
struct Told {
    held: Held,
    /// Whether it was told that it is about to go.
    leaving: bool,
}

#[derive(Clone, Copy)]
struct Ticket {
    held: Held,
    offset: u64,
}

impl LogSource {
    pub(super) fn open(
        shared: Arc<Shared>,
        subscription: &Subscription,
    ) -> Result<Self, BrokerError> {
        let mut state = shared.lock();
        let epoch = state.open()?;
        let (group, member, news) = state.join(subscription);
        drop(state);
        Ok(Self {
            shared,
            epoch,
            group,
            member,
            news,
            prefetch: usize::from(subscription.prefetch()),
            told: Vec::new(),
            version: 0,
            turn: 0,
            unsettled: HashMap::new(),
            tokens: 0,
            freeing: FuturesUnordered::new(),
            stranded: Vec::new(),
        })
    }

    /// Appends what there is to tell. Returns when something is due.
    fn fill(&mut self, events: &mut Vec<Event>) -> Result<Option<Instant>, BrokerError> {
        while let Some(Some(freed)) = self.freeing.next().now_or_never() {
            self.let_go(&freed);
        }
        if !self.stranded.is_empty() {
            events.push(Event::Lost(std::mem::take(&mut self.stranded)));
        }
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        state.check(self.epoch)?;
        if let Some(group) = state.groups.get(&self.group) {
            self.tell_changes(group, state.revoke_budget, events);
        }
        self.read(&mut state, events);
        Ok(state.next_due())
    }

    /// Lets lanes go of which everything is finished.
    fn let_go(&mut self, freed: &[Held]) {
        self.forget(freed);
        if let Some(group) = self.shared.lock().groups.get_mut(&self.group) {
            for held in freed {
                let count = group.stranded(*held);
                if count > 0 {
                    self.stranded.push(held.lane);
                    let (queue, lane) = (self.group.as_str(), held.lane.number());
                    tracing::warn!(queue, lane, count, "{AGAIN}");
                }
            }
            freed.iter().for_each(|held| group.free(*held));
        }
    }

    fn forget(&mut self, gone: &[Held]) {
        self.told.retain(|told| !gone.contains(&told.held));
        self.unsettled.retain(|_, ticket| !gone.contains(&ticket.held));
    }

    /// Tells what has changed of who holds what.
    fn tell_changes(&mut self, group: &Group, budget: Duration, events: &mut Vec<Event>) {
        if self.version == group.version {
            return;
        }
        self.version = group.version;
        let mine = || group.holdings().filter(|(_, holding)| holding.member == self.member);
        let is_mine = |held: Held| mine().any(|(mine, _)| mine == held);
        let is_told = |held: Held| self.told.iter().any(|told| told.held == held);
        let told = self.told.iter().map(|told| told.held);
        let lost: Vec<Held> = told.filter(|held| !is_mine(*held)).collect();
        let new: Vec<Held> = mine().map(|(held, _)| held).filter(|held| !is_told(*held)).collect();
        let leaving: Vec<Held> =
            mine().filter(|(_, holding)| holding.leaving).map(|(held, _)| held).collect();
        if !lost.is_empty() {
            self.forget(&lost);
            events.push(Event::Lost(lanes(&lost)));
        }
        if !new.is_empty() {
            self.told.extend(new.iter().map(|&held| Told { held, leaving: false }));
            events.push(Event::Assigned(lanes(&new)));
        }
        self.tell_leaving(&leaving, budget, events);
    }

    fn tell_leaving(&mut self, leaving: &[Held], budget: Duration, events: &mut Vec<Event>) {
        let mut untold = Vec::new();
        for told in self.told.iter_mut().filter(|told| leaving.contains(&told.held)) {
            if !std::mem::replace(&mut told.leaving, true) {
                untold.push(told.held);
            }
        }
        if !untold.is_empty() {
            let (revoking, free) = Revoking::new(lanes(&untold));
            self.freeing.push(free.map(|()| untold).boxed());
            events.push(Event::Revoking(revoking.with_budget(budget)));
        }
    }

    /// Reads one message of each partition in turn, until there is no room or none is left.
    fn read(&mut self, state: &mut State, events: &mut Vec<Event>) {
        let mut empty = 0;
        while self.unsettled.len() < self.prefetch && empty < self.told.len() {
            let turn = self.turn % self.told.len();
            self.turn = turn + 1;
            match self.read_one(state, self.told[turn].held) {
                Some(delivery) => {
                    empty = 0;
                    events.push(Event::Delivery(delivery));
                }
                None => empty += 1,
            }
        }
    }

    fn read_one(&mut self, state: &mut State, held: Held) -> Option<Delivery> {
        let group = state.groups.get_mut(&self.group)?;
        let Found { log, partition, offset, again } =
            group.read(held, &state.logs, state.longest_gap)?;
        let log = &state.logs[log];
        let Record { message, timestamp } = log.get(partition, offset)?.clone();
        // One of a kind, and in the order of the log, also where it is delivered again.
        let token = Token::new(offset << 32 | u64::from(self.tokens));
        self.tokens = self.tokens.wrapping_add(1);
        self.unsettled.insert(token, Ticket { held, offset });
        let mut delivery = Delivery::new(token, message).in_lane(held.lane);
        if let Ok(partition) = partition.try_into() {
            delivery = delivery.at(Position { partition, offset });
        }
        let delivery = delivery.with_topic(log.topic().cloned()).published_at(Some(timestamp));
        Some(delivery.redelivered(u32::from(again)))
    }
}

fn lanes(held: &[Held]) -> Vec<Lane> {
    held.iter().map(|held| held.lane).collect()
}

#[async_trait]
impl Source for LogSource {
    async fn next(&mut self, events: &mut Vec<Event>) -> Result<(), BrokerError> {
        let had = events.len();
        loop {
            let news = Arc::clone(&self.news);
            let told = news.notified();
            tokio::pin!(told);
            // Listen before looking, so that nothing comes unheard in between.
            told.as_mut().enable();
            let due = self.fill(events)?;
            if events.len() > had {
                return Ok(());
            }
            tokio::select! {
                () = told => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                Some(freed) = self.freeing.next() => self.let_go(&freed),
            }
        }
    }

    async fn settle(&mut self, batch: &[(Token, Verdict)]) -> Result<Settled, BrokerError> {
        let mut state = self.shared.lock();
        state.check(self.epoch)?;
        let mut lost = Vec::new();
        for &(token, verdict) in batch {
            let ticket = self.unsettled.remove(&token);
            let group = state.groups.get_mut(&self.group);
            let in_time = ticket
                .zip(group)
                .is_some_and(|(ticket, group)| group.settle(ticket.held, ticket.offset, verdict));
            if !in_time {
                lost.push(token);
            }
        }
        Ok(Settled::confirmed().with_lost(lost))
    }

    async fn set_prefetch(&mut self, prefetch: u16) -> Result<(), BrokerError> {
        self.shared.lock().check(self.epoch)?;
        self.prefetch = usize::from(prefetch);
        Ok(())
    }

    async fn close(self: Box<Self>, _ctx: &Context) -> Result<(), BrokerError> {
        let state = self.shared.lock();
        let group = state.groups.get(&self.group);
        let stranded = |group: &Group| self.told.iter().map(|told| group.stranded(told.held)).sum();
        let stranded: usize = group.map_or(0, stranded);
        if stranded == 0 && self.stranded.is_empty() {
            return Ok(());
        }
        let words = format!("{AGAIN}: {stranded}");
        let come_again = u64::try_from(stranded).unwrap_or(u64::MAX);
        let error = BrokerError::new(BrokerErrorKind::Unreachable, words);
        Err(error.with_come_again(come_again))
    }
}

/// What is not committed when a source goes comes again, at whoever gets its partitions.
impl Drop for LogSource {
    fn drop(&mut self) {
        self.shared.lock().leave(&self.group, self.member);
    }
}
