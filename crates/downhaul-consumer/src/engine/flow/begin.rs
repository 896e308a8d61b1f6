//! What begins, and when.

use std::sync::atomic::Ordering;

use downhaul_context::Context;
use tokio::time::Instant;

use super::{Flow, TURN};
use crate::batch::BatchHandler;
use crate::engine::batcher::Batcher;
use crate::engine::job::Job;
use crate::engine::lanes::{Held, Standing};
use crate::kill_switch::{Allowed, Breaker};

impl Flow {
    /// Begins what may begin, up to [`TURN`] messages and until there is news. Returns how many.
    /// With `flush`, batches do not wait until they are full or due.
    pub(crate) fn begin(&mut self, flush: bool, is_news: impl Fn() -> bool) -> usize {
        self.wake_at = None;
        self.let_leave();
        let begun = match self.batches.take() {
            None => self.begin_singly(is_news),
            Some((mut batcher, handler)) => {
                let begun = self.begin_batches(&mut batcher, &handler, flush, is_news);
                self.batches = Some((batcher, handler));
                begun
            }
        };
        self.wake_at = self.wake_at.into_iter().chain(self.leaving.next_due()).min();
        self.processor.shared.gauges.begun.fetch_add(begun, Ordering::Relaxed);
        begun
    }

    fn begin_singly(&mut self, is_news: impl Fn() -> bool) -> usize {
        let (mut now, mut begun) = (Instant::now(), 0);
        while begun < TURN
            && !is_news()
            && self.has_place()
            && let Some(job) = self.next_job(now)
        {
            let Some(lane) = self.lanes.begin(&job.ticket) else {
                self.miss(&job);
                continue;
            };
            begun += 1;
            if self.processor.inbox.is_some() || !self.pace.is_quick() {
                self.crew.begin_apart(&self.processor, lane.for_a_task(), job, now);
                continue;
            }
            let (stepped, finished) = self.crew.begin(&self.processor, &lane.ctx, job, now);
            self.pace.note(stepped.saturating_duration_since(now));
            now = stepped;
            finished.into_iter().for_each(|finished| self.absorb(finished));
        }
        self.processor.shared.end_steps();
        begun
    }

    /// Gathers what may begin, and begins what is gathered.
    fn begin_batches(
        &mut self,
        batcher: &mut Batcher,
        handler: &BatchHandler,
        flush: bool,
        is_news: impl Fn() -> bool,
    ) -> usize {
        let (now, mut begun) = (Instant::now(), 0);
        while begun < TURN
            && !is_news()
            && !self.has_one_alone()
            && let Some(job) = self.next_job(now)
        {
            begun += 1;
            if self.is_alone {
                self.begin_batch(handler, vec![job]);
            } else {
                batcher.push(job, now);
            }
        }
        // With too many bytes in it, what is gathered grows no more.
        let flush = flush || self.is_full;
        while self.has_place()
            && !is_news()
            && let Some(batch) = batcher.pop(now, flush)
        {
            self.begin_batch(handler, batch);
        }
        if self.has_place() {
            self.wake_at = self.wake_at.into_iter().chain(batcher.next_due()).min();
        }
        begun
    }

    /// Begins a batch, which is of one lane.
    fn begin_batch(&mut self, handler: &BatchHandler, batch: Vec<Job>) {
        let mut lane = None;
        for job in &batch {
            lane = self.enter(job);
        }
        if let Some(lane) = lane {
            self.crew.begin_batch(&self.processor, handler, lane, batch);
        }
    }

    /// Counts a message as begun in its lane, and returns what a task needs of that. One whose lane
    /// has gone is lost.
    pub(super) fn enter(&mut self, job: &Job) -> Option<(Context, Standing)> {
        let lane = self.lanes.begin(&job.ticket).map(Held::for_a_task);
        if lane.is_none() {
            self.miss(job);
        }
        lane
    }

    /// Counts a message as lost, which makes way for those of its key.
    fn miss(&mut self, job: &Job) {
        self.count_lost(1);
        self.schedule.done(job.ticket.key);
    }

    fn has_place(&self) -> bool {
        let is_free = !self.has_one_alone() && self.suspect.is_none();
        let concurrency = if is_free { usize::from(self.settings.concurrency()) } else { 1 };
        self.crew.len() < concurrency
    }

    /// Whether one is being handled beside which nothing else may be.
    fn has_one_alone(&self) -> bool {
        self.is_alone && self.crew.len() > 0
    }

    /// The next message that may begin now. One that was delivered again and again without a word
    /// about it may have brought down its consumers: it is handled alone, so that it takes no
    /// others with it. So is the one that a kill switch tries.
    fn next_job(&mut self, now: Instant) -> Option<Job> {
        let job = match self.suspect.take() {
            Some(suspect) => *suspect,
            None => self.next_ready(now)?,
        };
        let is_suspect = job.meta.redeliveries >= self.processor.suspect_after;
        if is_suspect && self.crew.len() > 0 {
            self.suspect = Some(Box::new(job));
            return None;
        }
        let trying = self.breaker.as_mut().filter(|breaker| breaker.allows(now) == Allowed::One);
        if is_suspect {
            let (queue, message_id) = (job.meta.queue().as_str(), job.meta.message.id());
            let redeliveries = job.meta.redeliveries;
            tracing::warn!(
                queue,
                message_id,
                redeliveries,
                "a message that was delivered again and again without a verdict is handled alone: \
                 does it bring down its consumers?"
            );
        }
        self.is_alone = is_suspect || trying.is_some();
        trying.into_iter().for_each(Breaker::begin_trial);
        Some(job)
    }

    /// The next message that is ready; else notes when one may be.
    fn next_ready(&mut self, now: Instant) -> Option<Job> {
        let next_due = self.waiting.next_due();
        if !self.schedule.has_ready() && next_due.is_none_or(|due| due > now) {
            self.wake_at = next_due;
            return None;
        }
        match self.breaker.as_ref().map(|breaker| breaker.allows(now)) {
            Some(Allowed::NoneUntil(until)) => {
                self.wake_at = Some(until);
                return None;
            }
            Some(Allowed::One) if self.crew.len() > 0 => return None,
            Some(Allowed::All | Allowed::One) | None => {}
        }
        if let Err(free_at) = self.throttle.take(now) {
            self.wake_at = Some(free_at);
            return None;
        }
        self.waiting.pop(now).or_else(|| self.schedule.pop())
    }
}
