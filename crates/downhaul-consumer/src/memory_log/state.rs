//! Logs, groups and what is due, shared by all links to the log.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::{BrokerError, BrokerErrorKind};
use crate::later::later;
use crate::memory_log::group::{Group, Held, Member, Partition};
use crate::memory_log::log::Log;
use crate::message::{Message, Name};
use crate::publish::{Destination, Outgoing, PublishOutcome};
use crate::subscription::Subscription;

/// The state behind its lock.
#[derive(Debug)]
pub(super) struct Shared(Mutex<State>);

impl Shared {
    pub(super) fn new(partitions: usize) -> Self {
        Self(Mutex::new(State {
            partitions,
            revoke_budget: Duration::from_secs(5),
            longest_gap: 1_024,
            reachable: true,
            epoch: Epoch(0),
            logs: Vec::new(),
            names: HashMap::new(),
            groups: BTreeMap::new(),
            members: 0,
            timers: BTreeMap::new(),
            timers_set: 0,
        }))
    }

    /// The state, with all done that is due.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.advance();
        state
    }
}

#[derive(Debug)]
pub(super) struct State {
    /// How many partitions a log is made with.
    partitions: usize,
    pub(super) revoke_budget: Duration,
    pub(super) longest_gap: usize,
    reachable: bool,
    epoch: Epoch,
    pub(super) logs: Vec<Log>,
    names: HashMap<Destination, usize>,
    pub(super) groups: BTreeMap<Name, Group>,
    /// How many members have joined a group, ever.
    members: u64,
    /// What is to be done, by when, and in the order in which it was asked for.
    timers: BTreeMap<(Instant, u64), Timer>,
    timers_set: u64,
}

/// Counts the cuts: a link opened before the latest is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epoch(u64);

#[derive(Debug)]
enum Timer {
    /// A message was held back.
    Append { log: usize, message: Message },
    /// A holder has had time enough to finish.
    Free { group: Name, held: Held },
}

impl State {
    /// Opens a link.
    pub(super) fn open(&self) -> Result<Epoch, BrokerError> {
        if self.reachable {
            return Ok(self.epoch);
        }
        let words = "the memory log is set to be unreachable";
        Err(BrokerError::new(BrokerErrorKind::Unreachable, words))
    }

    pub(super) fn check(&self, epoch: Epoch) -> Result<(), BrokerError> {
        if self.epoch == epoch {
            return Ok(());
        }
        Err(BrokerError::new(BrokerErrorKind::Unreachable, "the link to the memory log was cut"))
    }

    /// Makes what a subscription names, and a member of its group.
    pub(super) fn join(&mut self, subscription: &Subscription) -> (Name, Member, Arc<Notify>) {
        let name = Name::from(subscription.queue());
        if subscription.has_dead_letters() {
            let dead = Name::from(subscription.dead_letter_queue());
            self.read_log(&dead, Destination::Queue(dead.clone()));
        }
        self.read_log(&name, Destination::Queue(name.clone()));
        for topic in subscription.topics() {
            self.read_log(&name, Destination::Topic(topic.into()));
        }
        self.members += 1;
        let member = Member(self.members);
        let group = self.groups.entry(name.clone()).or_default();
        let revoked = group.join(member);
        let news = Arc::clone(&group.news);
        self.schedule(&name, revoked);
        (name, member, news)
    }

    /// Lets a group read a log, which is made if there is none, unless it does already.
    fn read_log(&mut self, group: &Name, destination: Destination) {
        let log = self.log(destination);
        if self.logs[log].readers.insert(group.clone()) {
            let partitions = self.logs[log].partitions();
            self.groups.entry(group.clone()).or_default().read_log(log, partitions);
        }
    }

    /// The number of a log, which is made if there is none.
    pub(super) fn log(&mut self, destination: Destination) -> usize {
        if let Some(log) = self.names.get(&destination) {
            return *log;
        }
        self.logs.push(Log::new(destination.clone(), self.partitions));
        self.names.insert(destination, self.logs.len() - 1);
        self.logs.len() - 1
    }

    /// Lets a member of a group go. Nothing happens to one that has gone.
    pub(super) fn leave(&mut self, group: &Name, member: Member) {
        let left = self.groups.get_mut(group).map(|group| group.leave(member));
        self.schedule(group, left.unwrap_or_default());
    }

    fn schedule(&mut self, group: &Name, revoked: Vec<Held>) {
        let until = later(Instant::now(), self.revoke_budget);
        for held in revoked {
            self.set_timer(until, Timer::Free { group: group.clone(), held });
        }
    }

    pub(super) fn send(&mut self, outgoing: &Outgoing) -> PublishOutcome {
        let Some(&log) = self.names.get(&outgoing.destination) else {
            let name = outgoing.destination.name();
            return PublishOutcome::Returned(format!("there is no log `{name}`"));
        };
        let message = outgoing.message.clone();
        if outgoing.delay.is_zero() {
            self.append(log, message);
        } else {
            let due = later(Instant::now(), outgoing.delay);
            self.set_timer(due, Timer::Append { log, message });
            // Who waits does not know of this moment.
            self.tell_readers(log);
        }
        PublishOutcome::Confirmed
    }

    fn append(&mut self, log: usize, message: Message) {
        self.logs[log].append(message);
        self.tell_readers(log);
    }

    fn tell_readers(&self, log: usize) {
        let readers = self.logs[log].readers.iter().filter_map(|name| self.groups.get(name));
        readers.for_each(|group| group.news.notify_waiters());
    }

    fn set_timer(&mut self, at: Instant, timer: Timer) {
        self.timers_set += 1;
        self.timers.insert((at, self.timers_set), timer);
    }

    /// When something is due next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Does what is due.
    fn advance(&mut self) {
        if self.timers.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some(timer) = self.timers.first_entry().filter(|timer| timer.key().0 <= now) {
            match timer.remove() {
                Timer::Append { log, message } => self.append(log, message),
                Timer::Free { group, held } => {
                    if let Some(group) = self.groups.get_mut(&group) {
                        group.free(held);
                    }
                }
            }
        }
    }

    pub(super) fn cut(&mut self) {
        self.epoch.0 += 1;
        self.groups.values_mut().for_each(Group::dissolve);
    }

    pub(super) fn set_reachable(&mut self, reachable: bool) {
        self.reachable = reachable;
        if !reachable {
            self.cut();
        }
    }

    pub(super) fn end_offset(&self, topic: &str, partition: usize) -> u64 {
        self.topic(topic).map_or(0, |log| self.logs[log].end(partition))
    }

    pub(super) fn committed(&self, group: &str, topic: &str, partition: usize) -> u64 {
        let log = self.topic(topic);
        let partitions = self.groups.get(group).map(Group::partitions).unwrap_or_default();
        let wanted = |one: &&Partition| Some(one.log) == log && one.number == partition;
        partitions.iter().find(wanted).map_or(0, |partition| partition.committed)
    }

    fn topic(&self, topic: &str) -> Option<usize> {
        self.names.get(&Destination::Topic(topic.into())).copied()
    }

    /// How many messages a group has not committed, those that are held back for it alone included.
    pub(super) fn lag(&self, group: &str) -> u64 {
        let partitions = self.groups.get(group).map(Group::partitions).unwrap_or_default();
        let lag = partitions
            .iter()
            .map(|partition| self.logs[partition.log].end(partition.number) - partition.committed);
        let own = self.names.get(&Destination::Queue(group.into()));
        let is_own =
            |timer: &&Timer| matches!(timer, Timer::Append { log, .. } if Some(log) == own);
        lag.sum::<u64>() + self.timers.values().filter(is_own).count() as u64
    }
}
