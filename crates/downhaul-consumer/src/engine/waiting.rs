//! [`Waiting`]: messages that wait in hand, for their next attempt or to be given back, and hold no
//! place of work.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::broker::Lane;
use crate::engine::job::Job;

/// Ordered by when they are due, then by when they came.
#[derive(Default)]
pub(crate) struct Waiting {
    jobs: BTreeMap<(Instant, u64), Job>,
    arrivals: u64,
}

impl Waiting {
    pub(crate) fn push(&mut self, due: Instant, job: Job) {
        self.arrivals += 1;
        self.jobs.insert((due, self.arrivals), job);
    }

    /// Takes the first that is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Job> {
        let first = self.jobs.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// When the first is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.jobs.first_key_value().map(|((due, _), _)| *due)
    }

    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Takes all out, or those of these lanes, with when each was due.
    pub(crate) fn take_out(&mut self, lanes: Option<&[Lane]>) -> Vec<(Instant, Job)> {
        let leaves = |job: &Job| lanes.is_none_or(|lanes| lanes.contains(&job.ticket.lane));
        let out = self.jobs.extract_if(.., |_, job| leaves(job));
        out.map(|((due, _), job)| (due, job)).collect()
    }
}
