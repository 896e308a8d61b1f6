//! [`Schedule`]: what has arrived and is not begun, and which of it may begin.
//!
//! Messages of one key stand in a line: only its head may begin, and the next only when the head is
//! finished for good. Heads of different lines are free of each other, so whoever has time takes
//! the next of any line, and a slow key holds up nobody but itself.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use crate::broker::{Lane, Token};
use crate::engine::job::{Job, Ticket};

#[derive(Default)]
pub(crate) struct Schedule {
    /// What may begin now.
    ready: VecDeque<Job>,
    /// The lines of keys that have a head (ready, being handled, or waiting for another attempt),
    /// and in each those behind it.
    lines: HashMap<u64, VecDeque<Job>>,
    followers: usize,
    bytes: usize,
}

impl Schedule {
    /// How many have arrived and are not begun.
    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.followers
    }

    /// How many of these are behind others of their key.
    pub(crate) fn followers(&self) -> usize {
        self.followers
    }

    /// Payloads and headers of all together.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(crate) fn push(&mut self, job: Job) {
        self.bytes += job.size();
        let Some(key) = job.ticket.key else {
            self.ready.push_back(job);
            return;
        };
        match self.lines.entry(key) {
            Entry::Vacant(line) => {
                line.insert(VecDeque::new());
                self.ready.push_back(job);
            }
            Entry::Occupied(mut line) => {
                line.get_mut().push_back(job);
                self.followers += 1;
            }
        }
    }

    /// Takes the next that may begin.
    pub(crate) fn pop(&mut self) -> Option<Job> {
        let job = self.ready.pop_front()?;
        self.bytes -= job.size();
        Some(job)
    }

    /// Makes way for the next of a key, whose head is finished for good.
    pub(crate) fn done(&mut self, key: Option<u64>) {
        let Some(key) = key else { return };
        let Entry::Occupied(mut line) = self.lines.entry(key) else { return };
        match line.get_mut().pop_front() {
            Some(next) => {
                self.followers -= 1;
                self.ready.push_back(next);
            }
            None => drop(line.remove()),
        }
    }

    /// Takes out those behind a head that is given back: they would overtake it.
    pub(crate) fn give_up(&mut self, key: Option<u64>) -> VecDeque<Job> {
        let line = key.and_then(|key| self.lines.remove(&key)).unwrap_or_default();
        self.followers -= line.len();
        self.bytes -= line.iter().map(Job::size).sum::<usize>();
        line
    }

    /// Takes out what may begin and those behind it. Those behind a head that is begun stay: should
    /// it come back after them, they would have overtaken it.
    pub(crate) fn take_out_free(&mut self) -> Vec<Token> {
        let mut out = Vec::new();
        while let Some(head) = self.pop() {
            let behind = self.give_up(head.ticket.key);
            out.push(head.ticket.token);
            out.extend(behind.into_iter().map(|job| job.ticket.token));
        }
        out
    }

    /// Whether anything of a lane is not begun.
    pub(crate) fn holds(&self, lane: Lane) -> bool {
        let followers = self.lines.values().flatten();
        self.ready.iter().chain(followers).any(|job| job.ticket.lane == lane)
    }

    /// Takes out what is not begun and `leaves`, in the order of delivery.
    pub(crate) fn take_out(&mut self, leaves: impl Fn(&Ticket) -> bool) -> Vec<Token> {
        let mut out = Vec::new();
        let mut headless = Vec::new();
        self.ready.retain(|job| {
            let leaves = leaves(&job.ticket);
            if leaves {
                out.push(job.ticket.token);
                headless.extend(job.ticket.key);
            }
            !leaves
        });
        for followers in self.lines.values_mut() {
            followers.retain(|job| {
                let leaves = leaves(&job.ticket);
                if leaves {
                    out.push(job.ticket.token);
                }
                !leaves
            });
        }
        headless.into_iter().for_each(|key| self.done(Some(key)));
        self.recount();
        out.sort_unstable();
        out
    }

    fn recount(&mut self) {
        let followers = self.lines.values().flatten();
        self.bytes = self.ready.iter().chain(followers).map(Job::size).sum();
        self.followers = self.lines.values().map(VecDeque::len).sum();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::broker::Delivery;
    use crate::engine::job::{Tenure, Ticket};
    use crate::handler::{Address, Meta};
    use crate::message::{Message, Name};

    pub(crate) fn job(token: u64, key: Option<u64>, lane: u32) -> Job {
        let delivery = Delivery::new(Token::new(token), Message::new("12345"));
        let lane = Lane::new(lane);
        let ticket = Ticket { token: delivery.token, lane, tenure: Tenure(0), key };
        let mut meta =
            Meta::new(delivery, &Arc::new(Address { queue: Name::of("q"), system: "test" }));
        meta.is_in_line = key.is_some();
        Job { ticket, meta }
    }

    fn schedule(jobs: &[(u64, Option<u64>)]) -> Schedule {
        let mut schedule = Schedule::default();
        jobs.iter().for_each(|(token, key)| schedule.push(job(*token, *key, 0)));
        schedule
    }

    fn pop(schedule: &mut Schedule) -> Option<u64> {
        schedule.pop().map(|job| job.ticket.token.number())
    }

    fn numbers(tokens: Vec<Token>) -> Vec<u64> {
        tokens.into_iter().map(Token::number).collect()
    }

    #[test]
    fn the_next_of_a_key_begins_only_when_the_one_before_is_done() {
        let mut schedule = schedule(&[(1, Some(7)), (2, Some(7)), (3, Some(8)), (4, None)]);
        assert_eq!([1, 3, 4].map(Some), [0; 3].map(|_| pop(&mut schedule)));
        assert_eq!(pop(&mut schedule), None);
        schedule.done(Some(8));
        schedule.done(None);
        assert_eq!(pop(&mut schedule), None);
        schedule.done(Some(7));
        assert_eq!(pop(&mut schedule), Some(2));
        schedule.done(Some(7));
        assert!(schedule.lines.is_empty(), "a line without a head is forgotten");
    }

    #[test]
    fn who_gives_up_a_line_takes_all_of_it_and_nothing_else() {
        let mut schedule = schedule(&[(1, Some(7)), (2, Some(7)), (3, Some(8)), (4, Some(7))]);
        assert_eq!(pop(&mut schedule), Some(1));
        let tokens = schedule.give_up(Some(7)).into_iter().map(|job| job.ticket.token);
        assert_eq!(numbers(tokens.collect()), [2, 4]);
        assert_eq!((schedule.len(), schedule.bytes()), (1, 5));
        assert!(schedule.give_up(None).is_empty());
        schedule.push(job(5, Some(7), 0));
        assert_eq!([3, 5].map(Some), [0; 2].map(|_| pop(&mut schedule)));
    }

    #[test]
    fn what_is_behind_one_that_is_begun_is_not_free() {
        let jobs = [(1, Some(7)), (2, Some(7)), (3, Some(8)), (4, None), (5, Some(8))];
        let mut schedule = schedule(&jobs);
        assert_eq!(pop(&mut schedule), Some(1));
        assert_eq!(numbers(schedule.take_out_free()), [3, 5, 4]);
        assert_eq!((schedule.len(), schedule.bytes()), (1, 5));
        schedule.done(Some(7));
        assert_eq!(numbers(schedule.take_out_free()), [2]);
        assert!(schedule.lines.is_empty());
    }

    #[test]
    fn what_is_taken_out_leaves_the_lines_of_what_is_begun() {
        let mut schedule = schedule(&[(1, Some(7)), (2, Some(7)), (3, Some(8)), (4, Some(8))]);
        assert_eq!(pop(&mut schedule), Some(1));
        assert_eq!((schedule.len(), schedule.bytes()), (3, 15));
        assert_eq!(numbers(schedule.take_out(|_| true)), [2, 3, 4]);
        assert_eq!((schedule.len(), schedule.bytes()), (0, 0));
        schedule.push(job(5, Some(7), 0));
        schedule.push(job(6, Some(8), 0));
        assert_eq!(pop(&mut schedule), Some(6), "the key 7 is still being handled");
        assert_eq!(pop(&mut schedule), None);
        schedule.done(Some(7));
        assert_eq!(pop(&mut schedule), Some(5));
    }

    #[test]
    fn what_leaves_with_its_lane_makes_way_for_what_stays() {
        let mut schedule = Schedule::default();
        schedule.push(job(1, Some(7), 0));
        schedule.push(job(2, Some(7), 1));
        schedule.push(job(3, Some(8), 1));
        assert_eq!(numbers(schedule.take_out(|ticket| ticket.lane == Lane::new(0))), [1]);
        assert_eq!(schedule.len(), 2);
        assert_eq!([3, 2].map(Some), [0; 2].map(|_| pop(&mut schedule)));
        schedule.done(Some(7));
        schedule.done(Some(8));
        assert!(schedule.lines.is_empty());
    }
}
