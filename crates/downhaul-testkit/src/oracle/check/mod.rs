//! [`check`]: a pure function from a log to a report.

mod again;
mod fate;
mod history;
mod limits;
mod order;

use self::again::Causes;
use self::history::History;
use super::promises::Promises;
use super::record::{Answer, Record};
use super::report::{Report, Summary};

/// Says which promises a log breaks.
///
/// The run must be over: the faults healed, the queues drained, the dead letters found. That a
/// consumer goes on after a fault is not in the log: the run shows it by coming to its end.
///
/// # Examples
///
/// ```
/// use downhaul_testkit::oracle::{Answer, Kind, Promises, Record, check};
///
/// let (id, key) = ("order-1".to_owned(), None);
/// let log = [
///     Record::Publishing { id: id.clone(), key, sequence: 0 },
///     Record::Published { id, outcome: Answer::Confirmed },
/// ];
/// let report = check(&log, &Promises::default());
/// assert_eq!(report.of(Kind::Lost).count(), 1);
/// println!("{report}");
/// ```
pub fn check(records: &[Record], promises: &Promises) -> Report {
    let history = History::new(records);
    let (mut violations, causes) = again::duplicates(&history);
    violations.extend(fate::check(&history));
    violations.extend(limits::check(&history, promises));
    violations.extend(order::check(&history, promises));
    // By kind and, within a kind, in the order in which they were found.
    violations.sort_by_key(|violation| violation.kind);
    Report { summary: summary(&history, &causes), violations }
}

fn summary(history: &History<'_>, causes: &Causes) -> Summary {
    let stories = || history.stories.values();
    let confirmed = |story: &&history::Story<'_>| story.answers.contains(&Answer::Confirmed);
    Summary {
        published: stories().filter(|story| !story.tries.is_empty()).count(),
        confirmed: stories().filter(confirmed).count(),
        tries: stories().map(|story| story.tries.len()).sum(),
        repeated: stories().filter(|story| story.tries.len() > 1).count(),
        recovered: stories()
            .filter(|story| !confirmed(story) && !story.tries.is_empty())
            .filter(|story| !story.handlings.is_empty())
            .count(),
        handled: stories().filter(|story| !story.handlings.is_empty()).count(),
        dead: stories().filter(|story| !story.dead.is_empty()).count(),
        again: stories().map(|story| story.handlings.len().saturating_sub(1)).sum(),
        after_tries: causes.tries,
        after_causes: causes.logged,
        after_ends: causes.ends,
        after_losses: causes.losses,
    }
}

#[cfg(test)]
mod tests;
