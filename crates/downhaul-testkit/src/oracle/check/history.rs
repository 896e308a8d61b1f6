//! [`History`]: a log, sorted by messages and by handlings.

use std::collections::{BTreeMap, HashMap};

use crate::oracle::record::{Answer, Cause, End, Record};

/// Positions are indices of records: what comes first has the lower one.
#[derive(Debug, Default)]
pub(super) struct History<'a> {
    pub(super) stories: BTreeMap<&'a str, Story<'a>>,
    /// In the order in which they began.
    pub(super) handlings: Vec<Handling<'a>>,
    pub(super) losses: Vec<Loss<'a>>,
}

/// All that happened to one message.
#[derive(Debug, Default)]
pub(super) struct Story<'a> {
    /// Its place in its key, if it was published.
    pub(super) sequence: Option<u64>,
    /// Where a publish of it was tried.
    pub(super) tries: Vec<usize>,
    pub(super) answers: Vec<Answer>,
    /// Indices of handlings, in the order in which they began.
    pub(super) handlings: Vec<usize>,
    pub(super) dead: Vec<Letter<'a>>,
    /// How many causes were logged for this very message.
    pub(super) causes: usize,
}

#[derive(Debug)]
pub(super) struct Letter<'a> {
    pub(super) reason: Option<&'a str>,
    pub(super) origin: Option<&'a str>,
}

#[derive(Debug)]
pub(super) struct Handling<'a> {
    pub(super) id: &'a str,
    pub(super) key: Option<&'a str>,
    pub(super) instance: &'a str,
    pub(super) attempt: u32,
    pub(super) began: usize,
    pub(super) ended: Option<(usize, End)>,
    /// Its process died. That is a loss, and the loss explains what follows.
    pub(super) killed: bool,
}

impl Handling<'_> {
    pub(super) fn is_open_at(&self, at: usize) -> bool {
        self.began < at && self.ended.is_none_or(|(ended, _)| at < ended)
    }
}

/// A link or a process that was lost.
#[derive(Debug)]
pub(super) struct Loss<'a> {
    pub(super) instance: &'a str,
    pub(super) at: usize,
    pub(super) unsettled: usize,
}

impl<'a> History<'a> {
    pub(super) fn new(records: &'a [Record]) -> Self {
        let mut history = Self::default();
        // A number may come again when an instance lives again: the latest is meant.
        let mut latest = HashMap::new();
        for (at, record) in records.iter().enumerate() {
            history.take(&mut latest, at, record);
        }
        history
    }

    fn take(&mut self, latest: &mut HashMap<(&'a str, u64), usize>, at: usize, record: &'a Record) {
        match record {
            Record::Publishing { id, sequence, .. } => {
                let story = self.story(id);
                story.sequence = Some(*sequence);
                story.tries.push(at);
            }
            Record::Published { id, outcome } => self.story(id).answers.push(*outcome),
            Record::Began { instance, number, id, key, attempt } => {
                let index = self.handlings.len();
                self.handlings.push(Handling {
                    id,
                    key: key.as_deref(),
                    instance,
                    attempt: *attempt,
                    began: at,
                    ended: None,
                    killed: false,
                });
                self.story(id).handlings.push(index);
                latest.insert((instance, *number), index);
            }
            Record::Ended { instance, number, end, .. } => {
                if let Some(index) = latest.remove(&(instance.as_str(), *number)) {
                    self.handlings[index].ended.get_or_insert((at, *end));
                }
            }
            Record::Dead { id, reason, origin } => {
                let letter = Letter { reason: reason.as_deref(), origin: origin.as_deref() };
                self.story(id).dead.push(letter);
            }
            Record::Cause(cause) => self.take_cause(at, cause),
        }
    }

    fn take_cause(&mut self, at: usize, cause: &'a Cause) {
        match cause {
            Cause::LinkLost { instance, unsettled } => self.lose(at, instance, *unsettled),
            Cause::ProcessDied { instance, unsettled } => {
                let theirs = self.handlings.iter_mut().filter(|one| one.instance == instance);
                for handling in theirs.filter(|handling| handling.ended.is_none()) {
                    (handling.ended, handling.killed) = (Some((at, End::Cut)), true);
                }
                self.lose(at, instance, *unsettled);
            }
            Cause::PublishUnanswered { id }
            | Cause::Released { id }
            | Cause::Retried { id }
            | Cause::SettlementLost { id } => self.story(id).causes += 1,
        }
    }

    fn lose(&mut self, at: usize, instance: &'a str, unsettled: u32) {
        let unsettled = usize::try_from(unsettled).unwrap_or(usize::MAX);
        self.losses.push(Loss { instance, at, unsettled });
    }

    fn story(&mut self, id: &'a str) -> &mut Story<'a> {
        self.stories.entry(id).or_default()
    }
}
