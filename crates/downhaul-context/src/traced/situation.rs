//! [`Situation`]: how things stood with a context when an error came to its first layer.

use std::fmt::{self, Display};
use std::time::Duration;

use crate::cause::{Cause, Rounded};
use crate::clock::Moment;
use crate::context::Context;
use crate::request_id::RequestId;
use crate::text::Token;
use crate::trace_context::TraceContext;
use crate::traced::layer::Shown;

/// How things stood with a context.
pub(super) struct Situation {
    pub(super) request_id: Option<RequestId>,
    pub(super) trace: Option<TraceContext>,
    /// Values that opted in to be printed.
    values: Vec<(&'static str, Shown)>,
    pub(super) ran: Option<Duration>,
    pub(super) deadline: Option<Deadline>,
    pub(super) cause: Option<Cause>,
}

/// Where the deadline was.
#[derive(Clone, Copy)]
pub(super) enum Deadline {
    Ahead(Duration),
    Over(Duration),
}

impl Situation {
    pub(super) fn of(ctx: &Context) -> Self {
        let (now, deadline) = (Moment::now(), ctx.node.deadline());
        // Before the end is looked at, and so written down in place of the beginning.
        let begun = ctx.node.begun();
        let cause = ctx.cause();
        let begun = begun.or_else(|| cause.as_ref().and_then(Cause::begun));
        let mut values = Vec::new();
        ctx.values.each_opted_in(|opted| {
            let shown = if opted.redacted { Shown::Secret } else { Shown::text(opted.text) };
            values.push((opted.name, shown));
        });
        Self {
            request_id: ctx.value().cloned(),
            trace: ctx.value().cloned(),
            values,
            ran: begun.map(|begun| now.since(begun)),
            deadline: deadline.instant().map(|_| match deadline.has_come(now) {
                true => Deadline::Over(now.since(deadline)),
                false => Deadline::Ahead(deadline.since(now)),
            }),
            cause,
        }
    }

    /// What belongs into one line: who it was for, and why it was cut short. `told` is whether the
    /// cause stands there already.
    pub(super) fn fmt_short(&self, f: &mut fmt::Formatter<'_>, told: bool) -> fmt::Result {
        let cause = self.cause.as_ref().filter(|_| !told).map(Cause::to_string);
        let request_id = self.request_id.as_ref().map(|id| ("request_id", id as &dyn Display));
        let values = self.values.iter().map(|(name, value)| (*name, value as &dyn Display));
        let ended = cause.as_deref().map(Token);
        let ended = ended.as_ref().map(|ended| ("ended", ended as &dyn Display));
        fmt_pairs(f, request_id.into_iter().chain(values).chain(ended), (" [", "]"))
    }

    /// All of it, in two lines.
    pub(super) fn fmt_long(&self, f: &mut fmt::Formatter<'_>, told: bool) -> fmt::Result {
        let request_id = self.request_id.as_ref().map(|id| ("request_id", id as &dyn Display));
        let trace_id = self.trace.as_ref().map(TraceContext::trace_id);
        let trace_id = trace_id.as_ref().map(|id| ("trace_id", id as &dyn Display));
        let values = self.values.iter().map(|(name, value)| (*name, value as &dyn Display));
        fmt_pairs(f, request_id.into_iter().chain(trace_id).chain(values), ("\n  ", ""))?;
        let times = self.times();
        if !times.is_empty() {
            write!(f, "\n  {times}")?;
        }
        match &self.cause {
            Some(cause) if !told => write!(f, "\n  ended: {cause}"),
            _ => Ok(()),
        }
    }

    fn times(&self) -> String {
        let ran = self.ran.map(|ran| format!("after {}", Rounded(ran)));
        let deadline = self.deadline.map(|deadline| match deadline {
            Deadline::Ahead(left) => format!("{} before its deadline", Rounded(left)),
            Deadline::Over(over) => format!("{} past its deadline", Rounded(over)),
        });
        ran.into_iter().chain(deadline).collect::<Vec<_>>().join(", ")
    }
}

fn fmt_pairs<'a>(
    f: &mut fmt::Formatter<'_>,
    pairs: impl Iterator<Item = (&'static str, &'a dyn Display)>,
    (begin, end): (&str, &str),
) -> fmt::Result {
    let mut any = false;
    for (name, value) in pairs {
        write!(f, "{}{name}={value}", if any { " " } else { begin })?;
        any = true;
    }
    f.write_str(if any { end } else { "" })
}
