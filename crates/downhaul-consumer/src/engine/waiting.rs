//! [`Waiting`]: messages that wait in hand, for their next attempt or to be given back, and hold no
//! place of work.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::broker::Lane;
use crate::engine::job::{Job, Ticket};

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

    /// Whether anything of a lane waits.
    pub(crate) fn holds(&self, lane: Lane) -> bool {
        self.jobs.values().any(|job| job.ticket.lane == lane)
    }

    /// Takes out those that `leave`.
    pub(crate) fn take_out(&mut self, leaves: impl Fn(&Ticket) -> bool) -> Vec<Job> {
        self.extract(|_, job| leaves(&job.ticket)).into_iter().map(|(_, job)| job).collect()
    }

    /// Takes out those for which it is so, each with when it was due.
    pub(crate) fn extract(&mut self, is_so: impl Fn(Instant, &Job) -> bool) -> Vec<(Instant, Job)> {
        let out = self.jobs.extract_if(.., |(due, _), job| is_so(*due, job));
        out.map(|((due, _), job)| (due, job)).collect()
    }
}
