//! What became of each message: lost, unexpected, or a dead letter that does not say why.

use super::history::{History, Story};
use crate::oracle::record::{Answer, End};
use crate::oracle::report::{Kind, Violation};

pub(super) fn check(history: &History<'_>) -> Vec<Violation> {
    let rules = [lost, unexpected, anonymous];
    let mut found = Vec::new();
    for (id, story) in &history.stories {
        let broken = rules.iter().filter_map(|rule| rule(history, story));
        found.extend(broken.map(|(kind, what)| Violation::new(kind, [*id], what)));
    }
    found
}

type Found = Option<(Kind, String)>;

fn lost(history: &History<'_>, story: &Story<'_>) -> Found {
    let ends = || story.handlings.iter().map(|index| history.handlings[*index].ended);
    let settled = ends().flatten().any(|(_, end)| end.is_final());
    if !story.answers.contains(&Answer::Confirmed) || settled || !story.dead.is_empty() {
        return None;
    }
    let what = match ends().next_back() {
        None => "confirmed, and no handler saw it".to_owned(),
        Some(end) => {
            let end = end.map_or_else(|| "is not over".to_owned(), |(_, end)| words(end));
            format!("confirmed, and its last handling of {} {end}", story.handlings.len())
        }
    };
    Some((Kind::Lost, what))
}

fn words(end: End) -> String {
    format!("ended as {end:?}")
}

fn unexpected(_: &History<'_>, story: &Story<'_>) -> Found {
    if story.handlings.is_empty() && story.dead.is_empty() {
        return None;
    }
    let seen = if story.handlings.is_empty() { "a dead letter" } else { "handled" };
    if story.tries.is_empty() {
        return Some((Kind::Unexpected, format!("{seen}, and nobody published it")));
    }
    let nowhere = story.answers.iter().filter(|answer| answer.is_certainly_nowhere()).count();
    (nowhere == story.tries.len()).then(|| {
        let what = format!("{seen}, and its publisher was told {:?}", story.answers);
        (Kind::Unexpected, what)
    })
}

fn anonymous(_: &History<'_>, story: &Story<'_>) -> Found {
    let says = |text: Option<&str>| text.is_some_and(|text| !text.trim().is_empty());
    let letter = story.dead.iter().find(|letter| !says(letter.reason) || !says(letter.origin))?;
    let what = format!("reason {:?}, origin {:?}", letter.reason, letter.origin);
    Some((Kind::DeadLetter, what))
}
