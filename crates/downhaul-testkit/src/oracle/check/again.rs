//! Messages that came again, and what explains it.
//!
//! A handling beyond the first is explained, in this order, by
//!
//! 1. a further try of its publish, before it began;
//! 2. a cause that was logged for this message;
//! 3. an earlier handling that ended without an end for the message, before it began;
//! 4. a lost link or a killed process whose broker may not have seen this message settled.
//!
//! Each explains one handling; a loss explains as many messages as may have been unsettled, each
//! once.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Handling, History, Loss, Story};
use crate::oracle::record::End;
use crate::oracle::report::{Kind, Violation};

/// How many handlings beyond the first each kind of cause explains.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Causes {
    pub(super) tries: usize,
    pub(super) logged: usize,
    pub(super) ends: usize,
    pub(super) losses: usize,
}

impl Causes {
    /// Takes one of what `known` has and this has not yet used. A loss is not among them.
    fn spend(&mut self, known: &Self) -> bool {
        let kinds = [
            (&mut self.tries, known.tries),
            (&mut self.logged, known.logged),
            (&mut self.ends, known.ends),
        ];
        let unused = kinds.into_iter().find(|(spent, known)| **spent < *known);
        unused.map(|(spent, _)| *spent += 1).is_some()
    }

    fn add(&mut self, other: &Self) {
        self.tries += other.tries;
        self.logged += other.logged;
        self.ends += other.ends;
        self.losses += other.losses;
    }
}

/// Returns the violations, and what explains the handlings that are none.
pub(super) fn duplicates(history: &History<'_>) -> (Vec<Violation>, Causes) {
    let mut losses = Losses::new(history);
    let mut unexplained: BTreeMap<&str, usize> = BTreeMap::new();
    // In the order of events, so that an early loss is not used up by what came late.
    let mut spent: BTreeMap<&str, Causes> = BTreeMap::new();
    for (index, handling) in history.handlings.iter().enumerate() {
        let story = &history.stories[handling.id];
        if story.handlings.first() == Some(&index) {
            continue;
        }
        let spent = spent.entry(handling.id).or_default();
        if spent.spend(&own_causes(history, story, handling)) {
            continue;
        }
        if losses.explain(story, handling) {
            spent.losses += 1;
        } else {
            *unexplained.entry(handling.id).or_default() += 1;
        }
    }
    let violation = |(id, count): (&str, usize)| {
        let times = history.stories[id].handlings.len();
        let what = format!("handled {times} times, {count} of them without a cause");
        Violation::new(Kind::Duplicate, [id], what)
    };
    let mut all = Causes::default();
    spent.values().for_each(|spent| all.add(spent));
    (unexplained.into_iter().map(violation).collect(), all)
}

/// How many handlings beyond the first the story explains by itself when `handling` begins.
fn own_causes(history: &History<'_>, story: &Story<'_>, handling: &Handling<'_>) -> Causes {
    let tries = story.tries.iter().filter(|at| **at < handling.began).count();
    let handlings = story.handlings.iter().map(|index| &history.handlings[*index]);
    let ends: Vec<(usize, End)> =
        handlings.filter(|one| !one.killed).filter_map(|one| one.ended).collect();
    // The last failure is what the dead letter was made of, and nothing follows from it.
    let buried = ends.iter().filter(|(_, end)| end.may_be_dead()).max_by_key(|(at, _)| *at);
    let buried = buried.filter(|_| !story.dead.is_empty()).map(|(at, _)| *at);
    let again =
        |(at, end): &&(usize, End)| *at < handling.began && !end.is_final() && buried != Some(*at);
    Causes {
        tries: tries.saturating_sub(1),
        logged: story.causes,
        ends: ends.iter().filter(again).count(),
        losses: 0,
    }
}

/// The losses, with what each has explained.
struct Losses<'h, 'a> {
    history: &'h History<'a>,
    /// By instance: where a handling began, and where one ended for good.
    begun: BTreeMap<&'a str, Vec<usize>>,
    done: BTreeMap<&'a str, Vec<usize>>,
    explained: Vec<BTreeSet<&'a str>>,
}

impl<'h, 'a> Losses<'h, 'a> {
    fn new(history: &'h History<'a>) -> Self {
        let (mut begun, mut done) = (BTreeMap::new(), BTreeMap::new());
        for handling in &history.handlings {
            let begun: &mut Vec<usize> = begun.entry(handling.instance).or_default();
            begun.push(handling.began);
            if let Some((at, end)) = handling.ended
                && end.is_final()
            {
                let done: &mut Vec<usize> = done.entry(handling.instance).or_default();
                done.push(at);
            }
        }
        done.values_mut().for_each(|done| done.sort_unstable());
        let explained = vec![BTreeSet::new(); history.losses.len()];
        Self { history, begun, done, explained }
    }

    /// Charges a handling to the first loss that can explain it.
    fn explain(&mut self, story: &Story<'a>, handling: &Handling<'a>) -> bool {
        let found = self.history.losses.iter().enumerate().position(|(index, loss)| {
            let explained = &self.explained[index];
            explained.len() < loss.unsettled
                && !explained.contains(handling.id)
                && self.earlier(story, handling).any(|one| self.was_unsettled(story, one, loss))
        });
        found.is_some_and(|index| self.explained[index].insert(handling.id))
    }

    fn earlier<'s>(
        &'s self,
        story: &'s Story<'a>,
        handling: &'s Handling<'a>,
    ) -> impl Iterator<Item = &'s Handling<'a>> {
        let handlings = story.handlings.iter().map(|index| &self.history.handlings[*index]);
        handlings.filter(|earlier| earlier.began < handling.began)
    }

    /// Whether the broker may not have known the end of `handling` when the link was lost.
    ///
    /// It settles in the order of the verdicts, give or take a batch, and gives out no more than
    /// may be unsettled. So it is only about the last ones. Since a loss is logged a little before
    /// it is made or after it is noticed, the first ones after it count, too.
    fn was_unsettled(&self, story: &Story<'a>, handling: &Handling<'_>, loss: &Loss<'_>) -> bool {
        if handling.instance != loss.instance {
            return false;
        }
        let near = 2 * loss.unsettled;
        if handling.began > loss.at {
            return between(&self.begun, loss.instance, loss.at, handling.began) < near;
        }
        match handling.ended {
            Some((at, end)) if at < loss.at && end.is_final() => {
                between(&self.done, loss.instance, at, loss.at) < near
            }
            // It waits for its next attempt, unless that has come and is judged by itself.
            Some((at, _)) if at < loss.at => !self.is_done_between(story, at, loss.at),
            _ => true,
        }
    }

    fn is_done_between(&self, story: &Story<'a>, after: usize, before: usize) -> bool {
        let mut ends =
            story.handlings.iter().filter_map(|index| self.history.handlings[*index].ended);
        ends.any(|(at, end)| after < at && at < before && end.is_final())
    }
}

/// How many positions of `instance` lie between two others.
fn between(
    positions: &BTreeMap<&str, Vec<usize>>,
    instance: &str,
    after: usize,
    before: usize,
) -> usize {
    let positions = positions.get(instance).map_or(&[][..], Vec::as_slice);
    let below = |at: usize| positions.partition_point(|position| *position < at);
    below(before).saturating_sub(below(after + 1))
}
