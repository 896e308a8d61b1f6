//! [`Batcher`]: gathers messages into batches, by number, time and key.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tokio::time::Instant;

use crate::batch::Batches;
use crate::broker::Lane;
use crate::engine::job::{Job, Tenure, Ticket};
use crate::later::later;
use crate::message::Key;

pub(crate) struct Batcher {
    policy: Batches,
    /// Those that are gathered now, by their numbers, which count up: as many as there are keys.
    open: BTreeMap<u64, Open>,
    /// The number of each.
    numbers: HashMap<Kind, u64>,
    opened: u64,
    full: VecDeque<Vec<Job>>,
    len: usize,
    bytes: usize,
}

/// What the messages of a batch have in common: their lane, and their key if keys are told apart.
type Kind = (Tenure, Option<Key>);

/// A batch that is being gathered.
struct Open {
    kind: Kind,
    due: Instant,
    jobs: Vec<Job>,
}

impl Batcher {
    pub(crate) fn new(policy: Batches) -> Self {
        Self {
            policy,
            open: BTreeMap::new(),
            numbers: HashMap::new(),
            opened: 0,
            full: VecDeque::new(),
            len: 0,
            bytes: 0,
        }
    }

    /// How many messages are gathered and not begun.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Their payloads and headers together.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push(&mut self, job: Job, now: Instant) {
        self.len += 1;
        self.bytes += job.size();
        let key = job.meta.message.own_key().filter(|_| self.policy.by_key);
        let kind = (job.ticket.tenure, key.cloned());
        let number = *self.numbers.entry(kind.clone()).or_insert_with(|| {
            self.opened += 1;
            self.opened
        });
        let open = self.open.entry(number).or_insert_with(|| {
            let due = later(now, self.policy.within);
            Open { kind, due, jobs: Vec::new() }
        });
        open.jobs.push(job);
        if open.jobs.len() >= self.policy.most.get() {
            let full = self.close(number);
            self.full.extend(full);
        }
    }

    /// The next batch that is full or due; with `flush`, any.
    pub(crate) fn pop(&mut self, now: Instant, flush: bool) -> Option<Vec<Job>> {
        let next = self.full.pop_front().or_else(|| {
            let (&number, first) = self.open.first_key_value()?;
            (flush || first.due <= now).then(|| self.close(number)).flatten()
        });
        self.forget(next.as_deref().unwrap_or_default());
        next
    }

    /// Gathers no more for a batch.
    fn close(&mut self, number: u64) -> Option<Vec<Job>> {
        let open = self.open.remove(&number)?;
        self.numbers.remove(&open.kind);
        Some(open.jobs)
    }

    /// When the next batch is due that is not full.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.open.first_key_value().map(|(_, open)| open.due)
    }

    /// Whether anything of a lane is gathered and not begun.
    pub(crate) fn holds(&self, lane: Lane) -> bool {
        let open = self.open.values().map(|open| &open.jobs);
        self.full.iter().chain(open).flatten().any(|job| job.ticket.lane == lane)
    }

    /// Takes out the messages that `leave`.
    pub(crate) fn take_out(&mut self, leaves: impl Fn(&Ticket) -> bool) -> Vec<Job> {
        let leaves = |job: &mut Job| leaves(&job.ticket);
        let open = self.open.values_mut().map(|open| &mut open.jobs);
        let batches = self.full.iter_mut().chain(open);
        let out = batches.flat_map(|jobs| jobs.extract_if(.., leaves).collect::<Vec<_>>());
        let out: Vec<Job> = out.collect();
        self.forget(&out);
        self.full.retain(|jobs| !jobs.is_empty());
        self.open.retain(|_, open| !open.jobs.is_empty());
        self.numbers.retain(|_, number| self.open.contains_key(number));
        out
    }

    /// Counts these no more.
    fn forget(&mut self, gone: &[Job]) {
        self.len -= gone.len();
        self.bytes -= gone.iter().map(Job::size).sum::<usize>();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::schedule::tests::job;

    const WITHIN: Duration = Duration::from_secs(1);

    fn batcher(policy: Batches, jobs: &[(u64, Option<&'static str>, u32)]) -> (Batcher, Instant) {
        let (mut batcher, now) = (Batcher::new(policy.within(WITHIN)), Instant::now());
        for (token, key, lane) in jobs {
            let mut job = job(*token, None, *lane);
            job.ticket.tenure = Tenure(u64::from(*lane));
            if let Some(key) = *key {
                job.meta.message = job.meta.message.with_key(key);
            }
            batcher.push(job, now + WITHIN / 10 * u32::try_from(*token).unwrap());
        }
        (batcher, now)
    }

    fn pop(batcher: &mut Batcher, now: Instant, flush: bool) -> Option<Vec<u64>> {
        let jobs = batcher.pop(now, flush)?;
        Some(jobs.iter().map(|job| job.ticket.token.number()).collect())
    }

    #[test]
    fn a_batch_is_ready_when_it_is_full() {
        let (mut batcher, now) =
            batcher(Batches::of(2), &[(1, None, 0), (2, None, 0), (3, None, 0)]);
        assert_eq!(batcher.bytes(), 15);
        assert_eq!(pop(&mut batcher, now, false), Some(vec![1, 2]));
        assert_eq!(pop(&mut batcher, now, false), None);
        assert_eq!((batcher.len(), batcher.bytes()), (1, 5));
        assert_eq!(pop(&mut batcher, now, true), Some(vec![3]));
    }

    #[test]
    fn a_batch_is_ready_a_while_after_its_first_message() {
        let (mut batcher, now) = batcher(Batches::of(9), &[(1, None, 0), (2, None, 0)]);
        let due = now + WITHIN / 10 + WITHIN;
        assert_eq!(batcher.next_due(), Some(due));
        assert_eq!(pop(&mut batcher, due - Duration::from_nanos(1), false), None);
        assert_eq!(pop(&mut batcher, due, false), Some(vec![1, 2]));
        assert_eq!(batcher.next_due(), None);
    }

    #[test]
    fn keys_and_lanes_are_told_apart() {
        let jobs = [(1, Some("a"), 0), (2, Some("b"), 0), (3, Some("a"), 0), (4, Some("a"), 1)];
        let (mut batcher, now) = batcher(Batches::of(2).by_key(), &jobs);
        assert_eq!(pop(&mut batcher, now, true), Some(vec![1, 3]));
        assert_eq!(pop(&mut batcher, now, true), Some(vec![2]));
        assert_eq!(pop(&mut batcher, now, true), Some(vec![4]));
    }

    #[test]
    fn the_oldest_that_is_not_full_is_due_first() {
        let keys = [(1, "a"), (2, "b"), (3, "c"), (4, "a"), (5, "a"), (6, "c"), (7, "c")];
        let jobs = keys.map(|(token, key)| (token, Some(key), 0));
        let (mut batcher, now) = batcher(Batches::of(3).by_key(), &jobs);
        assert_eq!(batcher.next_due(), Some(now + WITHIN / 5 + WITHIN));
        assert_eq!(pop(&mut batcher, now, true), Some(vec![1, 4, 5]));
        assert_eq!(pop(&mut batcher, now, true), Some(vec![3, 6, 7]));
        assert_eq!(pop(&mut batcher, now, true), Some(vec![2]));
        assert!(batcher.open.is_empty() && batcher.numbers.is_empty());
    }

    #[test]
    fn what_leaves_with_its_lane_is_taken_out_of_its_batch() {
        let jobs = [(1, None, 0), (2, None, 1), (3, None, 1)];
        let (mut batcher, now) = batcher(Batches::of(2), &jobs);
        let out = batcher.take_out(|ticket| ticket.lane == Lane::new(1));
        assert_eq!(out.len(), 2);
        assert_eq!(pop(&mut batcher, now, true), Some(vec![1]));
        assert_eq!((batcher.len(), batcher.bytes(), batcher.numbers.len()), (0, 0, 0));
    }
}
