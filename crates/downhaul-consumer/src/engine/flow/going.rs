//! What leaves with its lanes, and what of them is finished first.
//!
//! Of a lane, one position is kept: the first message that is not finished. What is finished behind
//! it comes again. So what lies before the last that is finished is worth finishing, too.

use std::collections::HashMap;

use tokio::time::Instant;

use super::Flow;
use crate::broker::{Lane, Revoking, Token};
use crate::engine::job::{Job, Tenure, Ticket};

/// What of that which has arrived is still begun when a consumer stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finishes {
    /// All that may begin.
    All,
    /// Nothing, but where lanes have positions what would make others come again.
    WhatIsBeforeFinished,
}

impl Flow {
    /// Makes ready to stop: what remains is to be begun. Returns false if nothing is.
    pub(crate) fn finishes(&mut self, finishes: Finishes, patience: Instant) -> bool {
        match finishes {
            _ if self.has_lanes => {
                let all = finishes == Finishes::All && self.buffered() > 0;
                self.give_back_useless(|_| true, patience, all);
                true
            }
            Finishes::All => {
                self.give_back_waiting();
                true
            }
            Finishes::WhatIsBeforeFinished => false,
        }
    }

    /// Lets go of lanes once what is worth finishing of them is finished and settled.
    pub(super) fn revoke(&mut self, revoking: Revoking) {
        self.lanes.revoke(revoking);
        self.give_back_of_revoked();
    }

    /// Whether lanes are to go, for which nothing waits longer than it must.
    pub(crate) fn is_to_let_go(&self) -> bool {
        !self.lanes.revoked().is_empty()
    }

    /// Gives back what is not worth finishing of lanes that are to go.
    pub(super) fn give_back_of_revoked(&mut self) {
        for (revoked, patience) in self.lanes.revoked() {
            self.give_back_useless(|lane| lane == revoked, patience, false);
        }
    }

    pub(super) fn let_go(&mut self) {
        let Self { schedule, batches, suspect, waiting, leaving, lanes, .. } = self;
        lanes.let_go(|lane| {
            schedule.holds(lane)
                || batches.as_ref().is_some_and(|(batcher, _)| batcher.holds(lane))
                || suspect.as_ref().is_some_and(|job| job.ticket.lane == lane)
                || waiting.holds(lane)
                || leaving.holds(lane)
        });
    }

    /// Gives back of these lanes what is not begun, unless something is finished behind it, or
    /// `all` will be; and what waits for another attempt, unless the same is so and it is due by
    /// then. Behind what is given back all is, for it would come again.
    fn give_back_useless(&mut self, goes: impl Fn(Lane) -> bool, patience: Instant, all: bool) {
        self.park_waiting(|ticket| goes(ticket.lane));
        let mut back = self.leaving.take_out(|ticket| goes(ticket.lane));
        let late = self.waiting.extract(|due, job| goes(job.ticket.lane) && due > patience);
        back.extend(late.into_iter().map(|(_, job)| job));
        if all && back.is_empty() {
            return;
        }
        let (ends, horizons) = (ends(&back), self.lanes.horizons());
        let is_useless = |ticket: &Ticket| {
            let is_behind = |end: &Token| *end < ticket.token;
            let comes_again = ends.get(&ticket.tenure).is_some_and(is_behind);
            let is_last = || horizons.get(&ticket.tenure).is_none_or(is_behind);
            goes(ticket.lane) && (comes_again || !all && is_last())
        };
        back.extend(self.waiting.take_out(is_useless));
        let unbegun = self.take_out_unbegun(is_useless);
        self.release(unbegun);
        back.iter().for_each(|job| self.leave(&job.ticket));
    }

    /// Gives back a message, and where its lane is to go, all behind it: it comes again elsewhere,
    /// and those of its key would overtake it here.
    pub(super) fn leave_with_those_behind(&mut self, ticket: &Ticket) {
        if self.lanes.is_revoking(ticket.lane) {
            let is_behind = |it: &Ticket| it.lane == ticket.lane && it.token > ticket.token;
            let behind = self.take_out_unbegun(is_behind);
            self.release(behind);
        }
        self.leave(ticket);
    }

    /// Drops what is left of lanes that have gone: others have it.
    pub(super) fn lose(&mut self, lanes: &[Lane]) {
        let is_gone = |ticket: &Ticket| lanes.contains(&ticket.lane);
        let unbegun = self.take_out_unbegun(is_gone).len();
        self.count_lost(unbegun);
        let waiting = self.forget_waiting(is_gone);
        let begun = self.lanes.lose(lanes, "the lane went to another consumer");
        let unfinished = unbegun + waiting + begun;
        if unfinished > 0 {
            let queue = &*self.processor.address.queue;
            tracing::warn!(
                queue,
                unfinished,
                begun,
                "lanes went to others before all was finished: it comes again there"
            );
        }
    }
}

/// From which on what is in a lane comes again.
fn ends(back: &[Job]) -> HashMap<Tenure, Token> {
    let mut ends = HashMap::new();
    for Job { ticket, .. } in back {
        let end = ends.entry(ticket.tenure).or_insert(ticket.token);
        *end = ticket.token.min(*end);
    }
    ends
}
