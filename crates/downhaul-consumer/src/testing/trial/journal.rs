//! [`Journal`]: what happened in a trial, and what that makes of each message.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::fate::{Attempt, Ending, Fate};
use crate::broker::Verdict;
use crate::publish::Outgoing;

/// What happened, in its order.
#[derive(Debug)]
pub(super) struct Journal {
    entries: Mutex<Vec<Entry>>,
    published: Mutex<Vec<Outgoing>>,
    news: watch::Sender<()>,
}

#[derive(Clone, Debug)]
struct Entry {
    id: String,
    at: Instant,
    what: What,
}

/// What happened to a message.
#[derive(Clone, Debug)]
pub(super) enum What {
    Delivered,
    Began {
        number: u32,
    },
    Decided {
        number: u32,
        ending: Ending,
        error: Option<String>,
        took: Duration,
    },
    /// The broker has taken the verdict.
    Settled(Verdict),
}

impl Default for Journal {
    fn default() -> Self {
        let (entries, published) = (Mutex::default(), Mutex::default());
        Self { entries, published, news: watch::Sender::new(()) }
    }
}

impl Journal {
    pub(super) fn note(&self, id: &str, what: What) {
        let entry = Entry { id: id.to_owned(), at: Instant::now(), what };
        lock(&self.entries).push(entry);
        self.news.send_replace(());
    }

    pub(super) fn note_published(&self, outgoing: &Outgoing) {
        lock(&self.published).push(outgoing.clone());
    }

    pub(super) fn published(&self) -> Vec<Outgoing> {
        lock(&self.published).clone()
    }

    pub(super) fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.entries).len()
    }

    /// What became of a message that was sent when there were `since` entries, if it has had one of
    /// these endings. What came behind that is not told.
    pub(super) fn fate(
        &self,
        id: &str,
        since: usize,
        is_end: impl Fn(&Ending) -> bool,
    ) -> Option<Fate> {
        let mut story = Story::default();
        let entries = lock(&self.entries);
        for entry in entries.iter().skip(since).filter(|one| one.id == id) {
            story.take(entry);
            if story.ending.as_ref().is_some_and(&is_end) {
                break;
            }
        }
        let ending = story.ending.filter(is_end)?;
        Some(Fate { ending, attempts: story.attempts, took: story.last? - story.first? })
    }

    /// All attempts at a message so far.
    pub(super) fn attempts(&self, id: &str) -> Vec<Attempt> {
        let mut story = Story::default();
        lock(&self.entries).iter().filter(|one| one.id == id).for_each(|one| story.take(one));
        story.attempts
    }

    /// Where a message is that has not ended. `None` if it was never delivered.
    pub(super) fn stage(&self, id: &str) -> Option<String> {
        let entries = lock(&self.entries);
        let (now, last) = (Instant::now(), entries.iter().rfind(|entry| entry.id == id)?);
        let since = now.saturating_duration_since(last.at);
        Some(match &last.what {
            What::Delivered => format!("it was delivered {since:?} ago and not begun"),
            What::Began { number } => {
                format!("attempt {number} is still being handled, in flight since {since:?}")
            }
            What::Decided { number, ending, error, .. } => {
                let error = error.as_deref().unwrap_or("no error");
                format!("attempt {number} ended as {ending:?} {since:?} ago, with {error}")
            }
            What::Settled(Verdict::Ack) => format!("its next attempt was put off {since:?} ago"),
            What::Settled(Verdict::Release) => format!("it was given back {since:?} ago"),
        })
    }
}

/// What the entries of one message say.
#[derive(Default)]
struct Story {
    attempts: Vec<Attempt>,
    /// When each attempt ended; `None` for one that has not.
    ended: Vec<Option<Instant>>,
    /// Attempts that began since the last delivery.
    begun: usize,
    ending: Option<Ending>,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Story {
    fn take(&mut self, entry: &Entry) {
        self.first.get_or_insert(entry.at);
        self.last = Some(entry.at);
        match &entry.what {
            What::Delivered => (self.begun, self.ending) = (self.attempts.len(), None),
            What::Began { number } => self.begin(*number, entry.at),
            What::Decided { number, ending, error, took } => {
                let open = |(attempt, ended): &(&mut Attempt, &mut Option<Instant>)| {
                    attempt.number == *number && ended.is_none()
                };
                let mut attempts = self.attempts.iter_mut().zip(&mut self.ended);
                if let Some((attempt, ended)) = attempts.find(open) {
                    (attempt.ending, attempt.error) = (ending.clone(), error.clone());
                    (attempt.took, *ended) = (*took, Some(entry.at));
                }
            }
            What::Settled(verdict) => self.settle(*verdict),
        }
    }

    fn begin(&mut self, number: u32, at: Instant) {
        if let (Some(before), Some(Some(ended))) = (self.attempts.last_mut(), self.ended.last())
            && let Ending::Retried { after } = &mut before.ending
        {
            *after = Some(at - *ended);
        }
        let (ending, error, took) = (Ending::Open, None, Duration::ZERO);
        self.attempts.push(Attempt { number, ending, error, took });
        self.ended.push(None);
    }

    fn settle(&mut self, verdict: Verdict) {
        // Of two deliveries at once, one may be under way still.
        let mut of_this = self.attempts.iter().zip(&self.ended).skip(self.begun);
        let decided = of_this.rfind(|(_, ended)| ended.is_some());
        let decided = decided.map(|(attempt, _)| attempt.ending.clone());
        match (verdict, decided) {
            // It waits for its next attempt somewhere else.
            (Verdict::Ack, Some(Ending::Retried { .. })) => {}
            (Verdict::Ack, Some(ending)) => self.ending = Some(ending),
            (Verdict::Ack, None) => {
                // It was looked at, and its handler was not called.
                self.attempts.truncate(self.begun);
                self.ended.truncate(self.begun);
                self.ending = Some(Ending::Duplicate);
            }
            (Verdict::Release, Some(Ending::Released)) => self.ending = Some(Ending::Released),
            // Given back by others than its handler: it comes again.
            (Verdict::Release, _) => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
