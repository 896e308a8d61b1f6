//! [`Cause`]: why a context ended, in enough words to find the culprit. [`Reason`]: what the
//! canceller says.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

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
pub struct Cause {
    pub(crate) at: Instant,
    site: &'static Location<'static>,
    kind: CauseKind,
    /// What there is to say besides; shared by all who inherit the cause. A cancel without words
    /// and labels has nothing, and so costs no allocation.
    more: Option<Arc<More>>,
}

struct More {
    path: String,
    what: What,
}

enum What {
    Told(Reason),
    Deadline { budget: Duration, elapsed: Duration },
    DrainGraceOver { grace: Duration, drained: Cause },
}

impl Cause {
    pub(crate) fn told(
        reason: Reason,
        at: Instant,
        site: &'static Location<'static>,
        path: String,
    ) -> Self {
        let kind = reason.kind;
        if path.is_empty() && reason.is_silent() {
            return Self { at, site, kind, more: None };
        }
        let what = What::Told(reason);
        Self { at, site, kind, more: Some(Arc::new(More { path, what })) }
    }

    pub(crate) fn deadline(
        at: Instant,
        budget: Duration,
        elapsed: Duration,
        site: &'static Location<'static>,
        path: String,
    ) -> Self {
        let what = What::Deadline { budget, elapsed };
        let more = Some(Arc::new(More { path, what }));
        Self { at, site, kind: CauseKind::Deadline, more }
    }

    pub(crate) fn drain_grace_over(at: Instant, grace: Duration, drained: Self) -> Self {
        let (site, path) = (drained.site, drained.path().to_owned());
        let what = What::DrainGraceOver { grace, drained };
        let more = Some(Arc::new(More { path, what }));
        Self { at, site, kind: CauseKind::DrainGraceOver, more }
    }

    /// What kind of thing ended the context.
    pub fn kind(&self) -> CauseKind {
        self.kind
    }

    /// When it ended. For a deadline, when it was due, which may be before anyone looked.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// The place in the code: of the call that ended the context or, for a deadline, of the call
    /// that set it.
    pub fn location(&self) -> &'static Location<'static> {
        self.site
    }

    /// The labels from the root to the context that ended first, joined by ` > `; empty where
    /// nothing is labelled.
    pub fn path(&self) -> &str {
        self.more.as_ref().map_or("", |more| &more.path)
    }

    /// The budget of a deadline, or the grace of a drain that was not enough.
    pub fn budget(&self) -> Option<Duration> {
        match *self.what()? {
            What::Told(_) => None,
            What::Deadline { budget, .. } => Some(budget),
            What::DrainGraceOver { grace, .. } => Some(grace),
        }
    }

    /// The time that really passed under a deadline until someone first saw that it was over.
    pub fn elapsed(&self) -> Option<Duration> {
        match *self.what()? {
            What::Deadline { elapsed, .. } => Some(elapsed),
            What::Told(_) | What::DrainGraceOver { .. } => None,
        }
    }

    fn what(&self) -> Option<&What> {
        self.more.as_ref().map(|more| &more.what)
    }

    fn quoted_label(&self) -> String {
        match self.path() {
            "" => String::new(),
            path => format!(" \"{path}\""),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (label, site) = (self.quoted_label(), self.site);
        match self.what() {
            None => fmt_told(f, self.kind, "", &label, site),
            Some(What::Told(reason)) => fmt_told(f, self.kind, &reason.words, &label, site),
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
    match kind {
        CauseKind::ClientGone => write!(f, "client gone:{label} seen at {site}"),
        CauseKind::ComponentFailed => write!(f, "component failed: {words}, seen at {site}"),
        CauseKind::Dropped => {
            write!(f, "cancelled:{label} the canceller made at {site} was dropped")
        }
        CauseKind::Operator => write!(f, "operator: {words}, taken at {site}"),
        CauseKind::Signal => write!(f, "signal {words}"),
        _ if words.is_empty() => write!(f, "cancelled:{label} at {site}"),
        _ => write!(f, "cancelled:{label} {words}, at {site}"),
    }
}

/// A duration for people: whole milliseconds where that loses nothing they care about.
struct Rounded(Duration);

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
        match self.what()? {
            What::Told(reason) => {
                reason.source.as_deref().map(|error| error as &(dyn Error + 'static))
            }
            What::Deadline { .. } => None,
            What::DrainGraceOver { drained, .. } => drained.source(),
        }
    }
}
