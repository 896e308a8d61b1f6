//! What a key promises: its messages in order, and one at a time.

use std::collections::{BTreeMap, HashMap};

use super::history::{Handling, History};
use crate::oracle::promises::Promises;
use crate::oracle::report::{Kind, Violation};

pub(super) fn check(history: &History<'_>, promises: &Promises) -> Vec<Violation> {
    let mut found = Vec::new();
    if promises.key_order {
        found.extend(disorder(history));
    }
    if promises.one_of_a_key {
        found.extend(overlaps(history));
    }
    found
}

/// Every message whose first attempt began after that of a later message of its key.
fn disorder(history: &History<'_>) -> Vec<Violation> {
    let mut furthest: HashMap<&str, (u64, &str)> = HashMap::new();
    let mut found = Vec::new();
    for (index, handling) in history.handlings.iter().enumerate() {
        let story = &history.stories[handling.id];
        let first = story.handlings.first() == Some(&index);
        let (true, Some(key), Some(sequence)) = (first, handling.key, story.sequence) else {
            continue;
        };
        let furthest = furthest.entry(key).or_insert((sequence, handling.id));
        if sequence < furthest.0 {
            let what = format!("number {sequence} of key `{key}` began after {}", furthest.0);
            found.push(Violation::new(Kind::KeyOrder, [handling.id, furthest.1], what));
        } else {
            *furthest = (sequence, handling.id);
        }
    }
    found
}

fn overlaps(history: &History<'_>) -> Vec<Violation> {
    let mut open: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    let mut found = Vec::new();
    for (index, handling) in history.handlings.iter().enumerate() {
        let Some(key) = handling.key else { continue };
        let open = open.entry((handling.instance, key)).or_default();
        open.retain(|other| history.handlings[*other].is_open_at(handling.began));
        let others = open.iter().map(|other| &history.handlings[*other]);
        for other in others.filter(|other| !outlived_its_link(history, other)) {
            let what = format!("both under way at once for key `{key}` in `{}`", handling.instance);
            found.push(Violation::new(Kind::KeyOverlap, [other.id, handling.id], what));
        }
        open.push(index);
    }
    found
}

/// Whether the instance lost its link while this was under way: nobody may wait for it then, since
/// its message is the broker's again.
fn outlived_its_link(history: &History<'_>, handling: &Handling<'_>) -> bool {
    let mut losses = history.losses.iter();
    losses.any(|loss| loss.instance == handling.instance && handling.is_open_at(loss.at))
}
