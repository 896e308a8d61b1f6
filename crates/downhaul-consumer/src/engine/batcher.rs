//! [`Batcher`]: gathers messages into batches, by number, time and key.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::batch::Batches;
use crate::broker::Lane;
use crate::engine::job::{Job, Tenure};
use crate::later::later;

pub(crate) struct Batcher {
    policy: Batches,
    /// Those that are gathered now, oldest first: few.
    open: VecDeque<Open>,
    full: VecDeque<Vec<Job>>,
    bytes: usize,
}

/// A batch that is being gathered: of one lane, and of one key if they are told apart.
struct Open {
    tenure: Tenure,
    key: Option<String>,
    due: Instant,
    jobs: Vec<Job>,
}

impl Batcher {
    pub(crate) fn new(policy: Batches) -> Self {
        Self { policy, open: VecDeque::new(), full: VecDeque::new(), bytes: 0 }
    }

    /// How many messages are gathered and not begun.
    pub(crate) fn len(&self) -> usize {
        let open: usize = self.open.iter().map(|open| open.jobs.len()).sum();
        open + self.full.iter().map(Vec::len).sum::<usize>()
    }

    /// Their payloads together.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push(&mut self, job: Job, now: Instant) {
        self.bytes += job.size();
        let key = job.meta.message.key().filter(|_| self.policy.by_key);
        let tenure = job.ticket.tenure;
        let fits = |open: &Open| open.tenure == tenure && open.key.as_deref() == key;
        let place = self.open.iter().position(fits).unwrap_or_else(|| {
            let (key, due) = (key.map(ToOwned::to_owned), later(now, self.policy.within));
            self.open.push_back(Open { tenure, key, due, jobs: Vec::new() });
            self.open.len() - 1
        });
        self.open[place].jobs.push(job);
        if self.open[place].jobs.len() >= self.policy.most.get() {
            self.full.extend(self.open.remove(place).map(|open| open.jobs));
        }
    }

    /// The next batch that is full or due; with `flush`, any.
    pub(crate) fn pop(&mut self, now: Instant, flush: bool) -> Option<Vec<Job>> {
        let next = self.full.pop_front().or_else(|| {
            let first = self.open.front()?;
            (flush || first.due <= now).then(|| self.open.pop_front()).flatten().map(|it| it.jobs)
        });
        self.bytes -= size(next.as_deref().unwrap_or_default());
        next
    }

    /// When the next batch is due that is not full.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.open.front().map(|open| open.due)
    }

    /// Takes all messages out, or those of these lanes.
    pub(crate) fn take_out(&mut self, lanes: Option<&[Lane]>) -> Vec<Job> {
        let leaves = |job: &mut Job| lanes.is_none_or(|lanes| lanes.contains(&job.ticket.lane));
        let batches = self.full.iter_mut().chain(self.open.iter_mut().map(|open| &mut open.jobs));
        let out = batches.flat_map(|jobs| jobs.extract_if(.., leaves).collect::<Vec<_>>());
        let out: Vec<Job> = out.collect();
        self.bytes -= size(&out);
        self.full.retain(|jobs| !jobs.is_empty());
        self.open.retain(|open| !open.jobs.is_empty());
        out
    }
}

fn size(jobs: &[Job]) -> usize {
    jobs.iter().map(Job::size).sum()
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
    fn what_leaves_with_its_lane_is_taken_out_of_its_batch() {
        let jobs = [(1, None, 0), (2, None, 1), (3, None, 1)];
        let (mut batcher, now) = batcher(Batches::of(2), &jobs);
        let out = batcher.take_out(Some(&[Lane::new(1)]));
        assert_eq!(out.len(), 2);
        assert_eq!(pop(&mut batcher, now, true), Some(vec![1]));
        assert_eq!((batcher.len(), batcher.bytes()), (0, 0));
    }
}
