//! [`Work`]: what a report says of one thing in a scope.

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

use tokio::time::Instant;

/// Something in a scope that has begun.
///
/// Its `Display` names kind, name and place, such as
/// `task "poll" spawned at src/orders.rs:41:11`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Work {
    /// What it is.
    pub kind: WorkKind,
    /// Its name; for work of a child scope after the label of that and ` > `.
    pub name: Cow<'static, str>,
    /// Where in the code it began.
    pub location: &'static Location<'static>,
    /// How old it is or, if it has ended, became.
    pub age: Duration,
}

/// What kind of work it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WorkKind {
    /// A task, which can be aborted.
    Task,
    /// A task on a thread of its own, which cannot.
    Blocking,
    /// A hold.
    Hold,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, location, .. } = self;
        match kind {
            WorkKind::Task => write!(f, "task {name:?} spawned at {location}"),
            WorkKind::Blocking => write!(f, "blocking task {name:?} spawned at {location}"),
            WorkKind::Hold => write!(f, "hold {name:?} taken at {location}"),
        }
    }
}

/// What is known of work when it begins.
#[derive(Clone, Debug)]
pub(super) struct Tag {
    pub(super) kind: WorkKind,
    pub(super) name: Cow<'static, str>,
    location: &'static Location<'static>,
    since: Instant,
}

impl Tag {
    pub(super) fn new(
        kind: WorkKind,
        name: Cow<'static, str>,
        location: &'static Location<'static>,
    ) -> Self {
        Self { kind, name, location, since: Instant::now() }
    }

    pub(super) fn work(&self) -> Work {
        let Self { kind, ref name, location, since } = *self;
        Work { kind, name: name.clone(), location, age: since.elapsed() }
    }
}

/// An age for people: whole milliseconds.
pub(super) struct Millis(pub(super) Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        match millis {
            0 => f.write_str("0ms"),
            _ => write!(f, "{:?}", Duration::from_millis(millis)),
        }
    }
}
