//! What leaves without being handled.

use tokio::time::Instant;

use super::Flow;
use crate::broker::{Lane, Revoking, Token};
use crate::engine::job::{Job, Ticket};
use crate::tally::{Counters, End};

impl Flow {
    /// Gives back what is not begun of lanes that are to go. What is begun holds them until it is
    /// settled.
    pub(super) fn revoke(&mut self, revoking: Revoking) {
        let lanes = Some(revoking.lanes());
        let unbegun = self.take_out_unbegun(lanes);
        self.release(unbegun);
        let waiting = self.waiting.take_out(lanes);
        let leaving = self.leaving.take_out(lanes);
        waiting.into_iter().chain(leaving).for_each(|(_, job)| self.leave(&job.ticket));
        self.lanes.revoke(revoking);
    }

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
        let mut free = self.take_out_chosen(None);
        free.extend(self.schedule.take_out_free());
        self.release(free);
        self.give_back_waiting();
    }

    /// Gives back these, in the order of their delivery.
    fn release(&mut self, mut tokens: Vec<Token>) {
        tokens.sort_unstable();
        self.ends.extend(tokens.into_iter().map(|token| (token, End::Released)));
    }

    /// Takes out what is not begun.
    pub(super) fn take_out_unbegun(&mut self, lanes: Option<&[Lane]>) -> Vec<Token> {
        let mut tokens = self.take_out_chosen(lanes);
        tokens.extend(self.schedule.take_out(lanes));
        tokens
    }

    /// Takes out what was to begin next: it makes way for those of its key.
    fn take_out_chosen(&mut self, lanes: Option<&[Lane]>) -> Vec<Token> {
        let batches = self.batches.as_mut();
        let gathered = batches.map(|(batcher, _)| batcher.take_out(lanes)).unwrap_or_default();
        let leaves =
            |job: &mut Box<Job>| lanes.is_none_or(|lanes| lanes.contains(&job.ticket.lane));
        let suspect = self.suspect.take_if(leaves);
        let begun: Vec<Job> = gathered.into_iter().chain(suspect.map(|job| *job)).collect();
        begun.iter().for_each(|job| self.schedule.done(job.ticket.key));
        begun.iter().map(|job| job.ticket.token).collect()
    }

    /// Gives back what waits for another attempt, or for that.
    pub(crate) fn give_back_waiting(&mut self) {
        self.leaving.take_out(None).into_iter().for_each(|(_, job)| self.leave(&job.ticket));
        for (due, job) in self.waiting.take_out(None) {
            // Now, with all that is given back: what comes later would come behind that.
            if !self.processor.can_park(&job.meta) {
                self.leave(&job.ticket);
                continue;
            }
            let Some((ctx, _)) = self.enter(&job) else { continue };
            self.crew.give_back(&self.processor, ctx, job, due);
        }
    }

    pub(super) fn forget_waiting(&mut self, lanes: Option<&[Lane]>) {
        let (waiting, leaving) = (self.waiting.take_out(lanes), self.leaving.take_out(lanes));
        self.count_lost(waiting.len() + leaving.len());
        waiting.into_iter().chain(leaving).for_each(|(_, job)| self.schedule.done(job.ticket.key));
    }
}
