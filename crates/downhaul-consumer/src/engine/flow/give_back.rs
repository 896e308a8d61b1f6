//! What leaves without being handled.

use tokio::time::Instant;

use super::Flow;
use crate::broker::Token;
use crate::engine::job::{Job, Ticket};
use crate::tally::{Counters, End};

impl Flow {
    /// Gives back what has paused long enough.
    pub(super) fn let_leave(&mut self) {
        while self.leaving.len() > 0
            && let Some(job) = self.leaving.pop(Instant::now())
        {
            self.leave(&job.ticket);
        }
    }

    /// Leaves what is to be given back to the end of the source, where that keeps its order.
    pub(super) fn leave_to_the_end(&mut self) {
        if self.is_reading {
            return;
        }
        let before = self.ends.len();
        self.ends.retain(|(_, end)| *end != End::Released);
        let left = before - self.ends.len();
        self.is_returning |= left > 0;
        Counters::add(&self.processor.shared.counters.released, left);
    }

    /// Whether more may come of what is given back now.
    fn is_open(&self) -> bool {
        self.prefetch > 0 && self.is_reading
    }

    /// Gives back a message; and where the intake is closed, with it those of its key behind it,
    /// lest they overtake it. While it is open they go on: what is on its way here would overtake
    /// them.
    pub(super) fn leave(&mut self, ticket: &Ticket) {
        self.ends.push((ticket.token, End::Released));
        if self.is_open() {
            return self.schedule.done(ticket.key);
        }
        let behind = self.schedule.give_up(ticket.key);
        self.ends.extend(behind.into_iter().map(|job| (job.ticket.token, End::Released)));
    }

    /// Gives back what has arrived and was not begun, and what waits for another attempt. What is
    /// behind one that is begun goes when that one is over.
    pub(crate) fn give_back(&mut self) {
        self.wake_at = None;
        let mut free = self.take_out_chosen(|_| true);
        free.extend(self.schedule.take_out_free());
        self.release(free);
        self.give_back_waiting();
    }

    /// Gives back these, in the order of their delivery.
    pub(super) fn release(&mut self, mut tokens: Vec<Token>) {
        tokens.sort_unstable();
        self.ends.extend(tokens.into_iter().map(|token| (token, End::Released)));
    }

    /// Takes out what is not begun and `leaves`.
    pub(super) fn take_out_unbegun(&mut self, leaves: impl Fn(&Ticket) -> bool) -> Vec<Token> {
        let mut tokens = self.take_out_chosen(&leaves);
        tokens.extend(self.schedule.take_out(leaves));
        tokens
    }

    /// Takes out what was to begin next: it makes way for those of its key.
    fn take_out_chosen(&mut self, leaves: impl Fn(&Ticket) -> bool) -> Vec<Token> {
        let batches = self.batches.as_mut();
        let gathered = batches.map(|(batcher, _)| batcher.take_out(&leaves)).unwrap_or_default();
        let suspect = self.suspect.take_if(|job| leaves(&job.ticket));
        let begun: Vec<Job> = gathered.into_iter().chain(suspect.map(|job| *job)).collect();
        begun.iter().for_each(|job| self.schedule.done(job.ticket.key));
        begun.iter().map(|job| job.ticket.token).collect()
    }

    /// Gives back what waits for another attempt, or for that.
    pub(crate) fn give_back_waiting(&mut self) {
        self.leaving.take_out(|_| true).iter().for_each(|job| self.leave(&job.ticket));
        self.park_waiting(|_| true);
        self.waiting.take_out(|_| true).iter().for_each(|job| self.leave(&job.ticket));
    }

    /// Gives back by way of the broker what waits for another attempt, `leaves`, and can be parked:
    /// now, with all that is given back, since what comes later would come behind that.
    pub(super) fn park_waiting(&mut self, leaves: impl Fn(&Ticket) -> bool) {
        let parks = |_, job: &Job| leaves(&job.ticket) && self.processor.can_park(&job.meta);
        for (due, job) in self.waiting.extract(parks) {
            let Some((ctx, _)) = self.enter(&job) else { continue };
            self.crew.give_back(&self.processor, ctx, job, due);
        }
    }

    /// Drops what waits and is gone with its lane or source. Returns how many there were.
    pub(super) fn forget_waiting(&mut self, is_gone: impl Fn(&Ticket) -> bool) -> usize {
        let mut gone = self.waiting.take_out(&is_gone);
        gone.extend(self.leaving.take_out(&is_gone));
        self.count_lost(gone.len());
        gone.iter().for_each(|job| self.schedule.done(job.ticket.key));
        gone.len()
    }
}
