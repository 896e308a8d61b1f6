//! [`Report`]: what a run did, and which promises it broke.

use std::fmt;

/// What the oracle makes of a log. It prints a summary and one line for each violation.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// How much happened, so that a run can show that it proves something.
    pub summary: Summary,
    /// What is wrong, by kind.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Whether all promises were kept.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// The violations of one kind.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Violation> {
        self.violations.iter().filter(move |violation| violation.kind == kind)
    }

    /// Fails a test whose run broke a promise.
    ///
    /// # Panics
    ///
    /// With the report, if there is a violation.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.summary)?;
        self.violations.iter().try_for_each(|violation| write!(f, "\n{violation}"))
    }
}

/// How much happened in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Messages whose publish was tried.
    pub published: usize,
    /// Those that were confirmed.
    pub confirmed: usize,
    /// Tries at their publishes.
    pub tries: usize,
    /// Messages whose publish was tried more than once.
    pub repeated: usize,
    /// Messages that were never confirmed and were handled all the same, as they may.
    pub recovered: usize,
    /// Messages that a handler saw.
    pub handled: usize,
    /// Messages that were found as dead letters.
    pub dead: usize,
    /// Handlings beyond the first of their message.
    pub again: usize,
    /// Those of them that a further try of the publish explains.
    pub after_tries: usize,
    /// Those that a cause explains which was logged for their message.
    pub after_causes: usize,
    /// Those that follow from how an earlier handling ended.
    pub after_ends: usize,
    /// Those that only a lost link or a killed process explains.
    pub after_losses: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { published, confirmed, repeated, recovered, handled, dead, again, .. } = self;
        write!(
            f,
            "{published} published: {confirmed} confirmed, {repeated} more than once, {recovered} \
             recovered; {handled} handled and {dead} dead, {again} handlings of a message again, \
             {} of them after a loss",
            self.after_losses + self.after_causes
        )
    }
}

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// Which promise.
    pub kind: Kind,
    /// The messages concerned.
    pub ids: Vec<String>,
    /// What happened, on one line.
    pub what: String,
}

impl Violation {
    pub(super) fn new<'a>(
        kind: Kind,
        ids: impl IntoIterator<Item = &'a str>,
        what: impl Into<String>,
    ) -> Self {
        Self { kind, ids: ids.into_iter().map(str::to_owned).collect(), what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.ids.join(", ");
        write!(f, "{:?}: {ids}: {}; promised: {}", self.kind, self.what, self.kind.promise())
    }
}

/// Which promise a [`Violation`] breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Confirmed, and never acknowledged, dropped or a dead letter.
    Lost,
    /// Handled or dead, and never published; or published and certainly in no queue.
    Unexpected,
    /// Handled again without a cause.
    Duplicate,
    /// The first attempts of a key are out of order.
    KeyOrder,
    /// Two handlers of one key at once.
    KeyOverlap,
    /// More handlers at a time than allowed.
    InFlight,
    /// More attempts than allowed.
    Attempts,
    /// A dead letter without its reason or its origin.
    DeadLetter,
}

impl Kind {
    /// The promise, in a few words.
    pub fn promise(self) -> &'static str {
        match self {
            Self::Lost => {
                "what was confirmed is handled until it is acknowledged, dropped or a dead letter"
            }
            Self::Unexpected => "only what is in a queue is handled",
            Self::Duplicate => "a message comes again only where a cause is known",
            Self::KeyOrder => "first attempts of a key begin in the order of its messages",
            Self::KeyOverlap => "one message of a key at a time",
            Self::InFlight => "no more handlers at a time than the concurrency",
            Self::Attempts => "no more attempts than the retry policy allows",
            Self::DeadLetter => "a dead letter says why it is one and where it comes from",
        }
    }
}
