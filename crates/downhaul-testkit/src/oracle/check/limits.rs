//! How many at a time, and how often.

use std::collections::BTreeMap;

use super::history::History;
use crate::oracle::promises::Promises;
use crate::oracle::report::{Kind, Violation};

pub(super) fn check(history: &History<'_>, promises: &Promises) -> Vec<Violation> {
    let mut found = Vec::new();
    if let Some(limit) = promises.in_flight {
        found.extend(in_flight(history, limit));
    }
    if let Some(limit) = promises.attempts {
        found.extend(attempts(history, limit));
    }
    found
}

/// One violation an instance, at its peak.
fn in_flight(history: &History<'_>, limit: usize) -> Vec<Violation> {
    let mut peaks: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut open: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, handling) in history.handlings.iter().enumerate() {
        let open = open.entry(handling.instance).or_default();
        open.retain(|other| history.handlings[*other].is_open_at(handling.began));
        open.push(index);
        let peak = peaks.entry(handling.instance).or_default();
        if open.len() > peak.len().max(limit) {
            *peak = open.iter().map(|index| history.handlings[*index].id).collect();
        }
    }
    let over = peaks.into_iter().filter(|(_, peak)| !peak.is_empty());
    over.map(|(instance, peak)| {
        let what = format!("`{instance}` handled {} at a time, limit {limit}", peak.len());
        Violation::new(Kind::InFlight, peak, what)
    })
    .collect()
}

/// One violation a message, at its highest.
fn attempts(history: &History<'_>, limit: u32) -> Vec<Violation> {
    let highest = history.stories.iter().filter_map(|(id, story)| {
        let attempts = story.handlings.iter().map(|index| history.handlings[*index].attempt);
        attempts.max().map(|highest| (*id, highest))
    });
    highest
        .filter(|(_, highest)| *highest > limit)
        .map(|(id, highest)| {
            let what = format!("handled as attempt {highest}, limit {limit}");
            Violation::new(Kind::Attempts, [id], what)
        })
        .collect()
}
