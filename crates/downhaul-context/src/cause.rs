//! [`Cause`]: why a context ended, in enough words to find the culprit. [`Reason`]: what the
//! canceller says.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::chain::find_cause;
use crate::clock::Moment;
use crate::text::Plain;

/// What kind of thing ended a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CauseKind {
    /// Its canceller was told to.
    Cancelled,
    /// The client went away before the answer.
    ClientGone,
    /// A component that the service cannot do without failed.
    ComponentFailed,
    /// Its deadline passed.
    Deadline,
    /// It drained, and the grace was over before the work was.
    DrainGraceOver,
    /// Its canceller was dropped.
    Dropped,
    /// A person or a program asked for it through a control interface.
    Operator,
    /// The process received a signal.
    Signal,
    /// A task of a [scope](crate::scope) returned an error or panicked.
    TaskFailed,
}

/// Why a canceller ends or drains its context.
///
/// # Examples
///
/// ```
/// use downhaul_context::{Context, Reason};
///
/// let (ctx, canceller) = Context::root();
/// canceller.cancel_with(Reason::signal("SIGTERM"));
/// assert!(ctx.cause().unwrap().to_string().starts_with("signal SIGTERM"));
/// ```
#[derive(Clone, Debug)]
pub struct Reason {
    kind: CauseKind,
    words: Cow<'static, str>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Reason {
    /// The work is not wanted any more; `words` say why.
    pub fn cancelled(words: impl Into<Cow<'static, str>>) -> Self {
        Self::new(CauseKind::Cancelled, words)
    }

    /// The client went away.
    pub fn client_gone() -> Self {
        Self::new(CauseKind::ClientGone, "")
    }

    /// The component `name` failed with `error`, which becomes the source of the cause.
    pub fn component_failed(
        name: impl Into<Cow<'static, str>>,
        error: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            source: Some(Arc::from(error.into())),
            ..Self::new(CauseKind::ComponentFailed, name)
        }
    }

    /// Someone asked for it; `action` says what was asked, such as `POST /consumers/orders/stop`.
    pub fn operator(action: impl Into<Cow<'static, str>>) -> Self {
        Self::new(CauseKind::Operator, action)
    }

    /// The process received the signal `name`.
    pub fn signal(name: impl Into<Cow<'static, str>>) -> Self {
        Self::new(CauseKind::Signal, name)
    }

    /// Adds the error behind the reason, which becomes the source of the cause.
    #[must_use]
    pub fn with_source(mut self, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(Arc::from(error.into()));
        self
    }

    /// The task `name` of a scope failed with `error`.
    pub(crate) fn task_failed(
        name: Cow<'static, str>,
        error: Arc<dyn Error + Send + Sync>,
    ) -> Self {
        Self { source: Some(error), ..Self::new(CauseKind::TaskFailed, name) }
    }

    pub(crate) fn plain() -> Self {
        Self::new(CauseKind::Cancelled, "")
    }

    pub(crate) fn dropped() -> Self {
        Self::new(CauseKind::Dropped, "")
    }

    fn new(kind: CauseKind, words: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, words: words.into(), source: None }
    }

    /// Says nothing but its kind.
    fn is_silent(&self) -> bool {
        self.words.is_empty() && self.source.is_none()
    }
}

/// Why a context ended, or why it began to drain.
///
/// Its `Display` is one log line that names the kind, the label, the place in the code and, for a
/// deadline, the budget and the time that really passed. The text is for people and may change;
/// match on [`kind`](Self::kind).
#[derive(Clone)]
pub struct Cause(Repr);

#[derive(Clone)]
enum Repr {
    /// A canceller was told to, or dropped, where there are no labels and nobody compares the time:
    /// it costs no allocation.
    Cancelled(&'static Location<'static>),
    Dropped(&'static Location<'static>),
    /// Shared by all who inherit it.
    Full(Arc<Full>),
}

struct Full {
    kind: CauseKind,
    at: Moment,
    site: &'static Location<'static>,
    path: Box<str>,
    what: What,
}

enum What {
    Told(Reason),
    Deadline { budget: Duration, elapsed: Duration },
    DrainGraceOver { grace: Duration, drained: Cause },
}

impl Cause {
    /// The end of a context that an error tells of: the first in its chain, also where an I/O error
    /// wraps it.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul_context::{Cause, CauseKind, Context};
    /// use std::io;
    ///
    /// let (ctx, canceller) = Context::root();
    /// canceller.cancel();
    /// let error = io::Error::other(ctx.check().unwrap_err());
    /// assert_eq!(Cause::find(&error).map(Cause::kind), Some(CauseKind::Cancelled));
    /// ```
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        find_cause(error, &|_| true)
    }

    /// What a canceller said. `at` is the start of time where nobody compares it.
    pub(crate) fn told(
        reason: Reason,
        at: Moment,
        site: &'static Location<'static>,
        path: String,
    ) -> Self {
        if at == Moment::START && path.is_empty() && reason.is_silent() {
            match reason.kind {
                CauseKind::Cancelled => return Self(Repr::Cancelled(site)),
                CauseKind::Dropped => return Self(Repr::Dropped(site)),
                _ => {}
            }
        }
        let path = match reason.kind {
            // The scope ended first, but the task began it.
            CauseKind::TaskFailed => format!("{path} > {}", reason.words),
            _ => path,
        };
        Self::full(reason.kind, at, site, path, What::Told(reason))
    }

    /// The same cause with a time, where it has none.
    pub(crate) fn stamped(self, now: Moment) -> Self {
        if self.at() != Moment::START {
            return self;
        }
        let (site, path) = (self.location(), self.path().to_owned());
        let reason = match self.as_full().map(|full| &full.what) {
            Some(What::Told(reason)) => reason.clone(),
            _ => Reason::new(self.kind(), ""),
        };
        Self::full(self.kind(), now, site, path, What::Told(reason))
    }

    pub(crate) fn deadline(
        at: Moment,
        budget: Duration,
        elapsed: Duration,
        site: &'static Location<'static>,
        path: String,
    ) -> Self {
        Self::full(CauseKind::Deadline, at, site, path, What::Deadline { budget, elapsed })
    }

    pub(crate) fn drain_grace_over(at: Moment, grace: Duration, drained: Self) -> Self {
        let (site, path) = (drained.location(), drained.path().to_owned());
        let what = What::DrainGraceOver { grace, drained };
        Self::full(CauseKind::DrainGraceOver, at, site, path, what)
    }

    fn full(
        kind: CauseKind,
        at: Moment,
        site: &'static Location<'static>,
        path: String,
        what: What,
    ) -> Self {
        Self(Repr::Full(Arc::new(Full { kind, at, site, path: path.into(), what })))
    }

    /// What kind of thing ended the context.
    pub fn kind(&self) -> CauseKind {
        match &self.0 {
            Repr::Cancelled(_) => CauseKind::Cancelled,
            Repr::Dropped(_) => CauseKind::Dropped,
            Repr::Full(full) => full.kind,
        }
    }

    /// When it ended. For a deadline, when it was due, which may be before anyone looked. The start
    /// of time where nothing depends on it.
    pub(crate) fn at(&self) -> Moment {
        self.as_full().map_or(Moment::START, |full| full.at)
    }

    /// When a deadline that passed was set.
    pub(crate) fn begun(&self) -> Option<Moment> {
        match self.as_full()?.what {
            What::Deadline { budget, .. } => Some(self.at().before(budget)),
            What::Told(_) | What::DrainGraceOver { .. } => None,
        }
    }

    /// The place in the code: of the call that ended the context or, for a deadline, of the call
    /// that set it, and for a failed task, of the call that spawned it.
    pub fn location(&self) -> &'static Location<'static> {
        match &self.0 {
            Repr::Cancelled(site) | Repr::Dropped(site) => site,
            Repr::Full(full) => full.site,
        }
    }

    /// The labels from the root to the context that ended first or, for a failed task, to that of
    /// the task, joined by ` > `; empty where nothing is labelled.
    pub fn path(&self) -> &str {
        self.as_full().map_or("", |full| &full.path)
    }

    /// The budget of a deadline, or the grace of a drain that was not enough.
    pub fn budget(&self) -> Option<Duration> {
        match self.as_full()?.what {
            What::Told(_) => None,
            What::Deadline { budget, .. } => Some(budget),
            What::DrainGraceOver { grace, .. } => Some(grace),
        }
    }

    /// The time that really passed under a deadline until someone first saw that it was over.
    pub fn elapsed(&self) -> Option<Duration> {
        match self.as_full()?.what {
            What::Deadline { elapsed, .. } => Some(elapsed),
            What::Told(_) | What::DrainGraceOver { .. } => None,
        }
    }

    /// Whether both are one end, as far as anyone can tell.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.kind() == other.kind()
            && self.location() == other.location()
            && self.path() == other.path()
    }

    fn as_full(&self) -> Option<&Full> {
        match &self.0 {
            Repr::Full(full) => Some(full),
            Repr::Cancelled(_) | Repr::Dropped(_) => None,
        }
    }

    fn quoted_label(&self) -> String {
        match self.path() {
            "" => String::new(),
            path => format!(" \"{}\"", Plain(path)),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, label, site) = (self.kind(), self.quoted_label(), self.location());
        match self.as_full().map(|full| &full.what) {
            None => fmt_told(f, kind, "", &label, site),
            Some(What::Told(reason)) => fmt_told(f, kind, &reason.words, &label, site),
            Some(What::Deadline { budget, elapsed }) => {
                let (budget, elapsed) = (Rounded(*budget), Rounded(*elapsed));
                write!(
                    f,
                    "deadline exceeded:{label} budget {budget} set at {site}, elapsed {elapsed}"
                )
            }
            Some(What::DrainGraceOver { grace, drained }) => {
                write!(f, "drain grace over:{label} {} after {drained}", Rounded(*grace))
            }
        }
    }
}

fn fmt_told(
    f: &mut fmt::Formatter<'_>,
    kind: CauseKind,
    words: &str,
    label: &str,
    site: &Location<'_>,
) -> fmt::Result {
    let (words, is_silent) = (Plain(words), words.is_empty());
    match kind {
        CauseKind::ClientGone => write!(f, "client gone:{label} seen at {site}"),
        CauseKind::ComponentFailed => write!(f, "component failed: {words}, seen at {site}"),
        CauseKind::Dropped => {
            write!(f, "cancelled:{label} the canceller made at {site} was dropped")
        }
        CauseKind::Operator => write!(f, "operator: {words}, taken at {site}"),
        CauseKind::Signal => write!(f, "signal {words}"),
        CauseKind::TaskFailed => write!(f, "task failed:{label} spawned at {site}"),
        _ if is_silent => write!(f, "cancelled:{label} at {site}"),
        _ => write!(f, "cancelled:{label} {words}, at {site}"),
    }
}

/// A duration for people: whole milliseconds where that loses nothing they care about.
pub(crate) struct Rounded(pub(crate) Duration);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = self.0;
        let millis = u64::try_from(exact.as_millis()).unwrap_or(u64::MAX);
        let shown = if millis == 0 { exact } else { Duration::from_millis(millis) };
        write!(f, "{shown:?}")
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cause({self})")
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.as_full()?.what {
            What::Told(reason) => {
                reason.source.as_deref().map(|error| error as &(dyn Error + 'static))
            }
            What::Deadline { .. } => None,
            What::DrainGraceOver { drained, .. } => drained.source(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Context;

    #[test]
    fn two_causes_are_one_where_kind_place_and_labels_are() {
        let cause = |label: &'static str, reason| {
            let (ctx, canceller) = Context::background().derive().label(label).build();
            canceller.cancel_with(reason);
            ctx.cause().unwrap()
        };
        let one = cause("one", Reason::client_gone());
        assert!(one.is_same(&cause("one", Reason::client_gone())));
        assert!(!one.is_same(&cause("one", Reason::cancelled(""))));
        assert!(!one.is_same(&cause("other", Reason::client_gone())));
        let (ctx, canceller) = Context::background().derive().label("one").build();
        canceller.cancel_with(Reason::client_gone());
        assert!(!one.is_same(&ctx.cause().unwrap()));
    }
}
