//! [`Group`]: consumers that share the partitions of what the group reads.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::broker::{Lane, Verdict};
use crate::memory_log::log::Log;
use crate::memory_log::progress::Progress;
use crate::memory_log::sharing::share_out;

/// An open source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Member(pub(super) u64);

/// Counts how often a partition of the group was assigned: what is delivered belongs to one holding
/// of it and can be settled in no other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tenure(u64);

#[derive(Debug, Default)]
pub(super) struct Group {
    /// By the number of their lane, which never changes.
    partitions: Vec<Partition>,
    members: BTreeSet<Member>,
    tenures: u64,
    /// Counts the changes of who holds what.
    pub(super) version: u64,
    /// Told of what is new in the logs, and of changes of who holds what.
    pub(super) news: Arc<Notify>,
}

/// A partition as the group sees it.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) log: usize,
    pub(super) number: usize,
    /// Where the next holder begins.
    pub(super) committed: u64,
    /// What was delivered to anybody ends before this.
    delivered: u64,
    pub(super) wanted_by: Option<Member>,
    pub(super) held: Option<Holding>,
}

#[derive(Debug)]
pub(super) struct Holding {
    pub(super) member: Member,
    pub(super) tenure: Tenure,
    /// Whether it is about to go to another: nothing more is read of it.
    pub(super) leaving: bool,
    progress: Progress,
}

/// One holding of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) lane: Lane,
    pub(super) tenure: Tenure,
}

/// A message to deliver, by where it is.
pub(super) struct Found {
    pub(super) log: usize,
    pub(super) partition: usize,
    pub(super) offset: u64,
    /// Whether it was delivered before, to anybody of the group.
    pub(super) again: bool,
}

impl Partition {
    pub(super) fn new(log: usize, number: usize) -> Self {
        Self { log, number, committed: 0, delivered: 0, wanted_by: None, held: None }
    }

    /// Who has it, or, if it is about to go, who shall have it.
    pub(super) fn next_holder(&self) -> Option<Member> {
        let stays = self.held.as_ref().filter(|holding| !holding.leaving);
        stays.map(|holding| holding.member).or(self.wanted_by)
    }
}

impl Group {
    /// Reads all of a log from now on, from its beginning.
    pub(super) fn read_log(&mut self, log: usize, partitions: usize) {
        self.partitions.extend((0..partitions).map(|number| Partition::new(log, number)));
    }

    /// Takes a member in. Returns what has to be revoked for it.
    pub(super) fn join(&mut self, member: Member) -> Vec<Held> {
        self.members.insert(member);
        self.rebalance()
    }

    /// Lets a member go, whose partitions are free at once. Returns what has to be revoked.
    pub(super) fn leave(&mut self, member: Member) -> Vec<Held> {
        if !self.members.remove(&member) {
            return Vec::new();
        }
        for partition in &mut self.partitions {
            partition.held.take_if(|holding| holding.member == member);
        }
        self.rebalance()
    }

    /// Lets all members go.
    pub(super) fn dissolve(&mut self) {
        self.members.clear();
        self.partitions.iter_mut().for_each(|partition| partition.held = None);
        self.rebalance();
    }

    /// Says who shall have what, and marks what has to move as leaving.
    fn rebalance(&mut self) -> Vec<Held> {
        share_out(&mut self.partitions, &self.members);
        let mut revoked = Vec::new();
        for (number, partition) in self.partitions.iter_mut().enumerate() {
            if let Some(holding) = &mut partition.held
                && partition.wanted_by != Some(holding.member)
                && !holding.leaving
            {
                holding.leaving = true;
                revoked.push(Held { lane: lane(number), tenure: holding.tenure });
            }
        }
        self.hand_out();
        revoked
    }

    /// Gives what is free to those that shall have it.
    fn hand_out(&mut self) {
        for partition in self.partitions.iter_mut().filter(|partition| partition.held.is_none()) {
            let Some(member) = partition.wanted_by else { continue };
            self.tenures += 1;
            let (tenure, progress) = (Tenure(self.tenures), Progress::from(partition.committed));
            partition.held = Some(Holding { member, tenure, leaving: false, progress });
        }
        self.version += 1;
        self.news.notify_waiters();
    }

    /// Ends a holding that is about to go, for the next to begin. Does nothing to one that has
    /// ended.
    pub(super) fn free(&mut self, held: Held) {
        if let Some(partition) = self.partition(held.lane)
            && partition.held.take_if(|holding| holding.tenure == held.tenure).is_some()
        {
            self.hand_out();
        }
    }

    /// How many messages come again, if a holding ends now, though they were acknowledged.
    pub(super) fn stranded(&self, held: Held) -> usize {
        let holding = self.holdings().find(|(one, _)| *one == held);
        holding.map_or(0, |(_, holding)| holding.progress.stranded())
    }

    /// The lanes with who holds them.
    pub(super) fn holdings(&self) -> impl Iterator<Item = (Held, &Holding)> {
        self.partitions.iter().enumerate().filter_map(|(number, partition)| {
            let holding = partition.held.as_ref()?;
            Some((Held { lane: lane(number), tenure: holding.tenure }, holding))
        })
    }

    /// The partitions of what the group reads.
    pub(super) fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// What to deliver next of what is held.
    pub(super) fn read(&mut self, held: Held, logs: &[Log], longest_gap: usize) -> Option<Found> {
        let partition = self.partition(held.lane)?;
        let end = logs[partition.log].end(partition.number);
        let holding = partition.held.as_mut().filter(|holding| holding.tenure == held.tenure)?;
        if holding.leaving {
            return None;
        }
        let offset = holding.progress.read(end, longest_gap)?;
        let again = offset < partition.delivered;
        partition.delivered = partition.delivered.max(offset + 1);
        Some(Found { log: partition.log, partition: partition.number, offset, again })
    }

    /// Takes a verdict on what was delivered in a holding. Returns whether it was in time.
    pub(super) fn settle(&mut self, held: Held, offset: u64, verdict: Verdict) -> bool {
        let Some(partition) = self.partition(held.lane) else { return false };
        let holding = partition.held.as_mut().filter(|holding| holding.tenure == held.tenure);
        let Some(holding) = holding else { return false };
        let settled = holding.progress.settle(offset, verdict);
        partition.committed = holding.progress.committed();
        settled
    }

    fn partition(&mut self, lane: Lane) -> Option<&mut Partition> {
        self.partitions.get_mut(usize::try_from(lane.number()).ok()?)
    }
}

fn lane(number: usize) -> Lane {
    Lane::new(u32::try_from(number).unwrap_or(u32::MAX))
}
