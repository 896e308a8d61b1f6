//! The one line and the tree of an error.

use std::error::Error;
use std::fmt::{self, Display};

use super::erased::TracedError;
use super::layer::Layer;
use super::situation::Situation;
use super::trace::Trace;
use crate::cause::Cause;
use crate::chain::{chain, find_cause};
use crate::text::Plain;

/// A layer, or an error of the chain.
enum Link<'a> {
    Layer(&'a Layer),
    Error(String),
}

/// An error as it is printed: the layers from the outermost to the innermost, what it is, and what
/// lies behind it.
pub(super) struct Printed<'a> {
    links: Vec<Link<'a>>,
    /// Of the innermost trace, which is nearest to what went wrong.
    situation: Option<&'a Situation>,
    /// Whether what ended the context stands among the links.
    told: bool,
}

impl<'a> Printed<'a> {
    pub(super) fn new(trace: Option<&'a Trace>, error: &'a (dyn Error + 'static)) -> Self {
        let mut printed = Self { links: Vec::new(), situation: None, told: false };
        trace.into_iter().for_each(|trace| printed.enter(trace));
        for error in chain(error) {
            match error.downcast_ref::<TracedError>() {
                Some(traced) => printed.enter(&traced.trace),
                None => printed.push(error.to_string()),
            }
        }
        printed.told = printed.situation.is_some_and(|situation| tells_end(error, situation));
        printed
    }

    fn enter(&mut self, trace: &'a Trace) {
        self.links.extend(trace.layers().map(Link::Layer));
        self.situation = Some(&trace.situation);
    }

    /// Many an error says what its source says, too: that is not said again.
    fn push(&mut self, text: String) {
        match self.links.last() {
            Some(Link::Error(above)) if above.ends_with(&text) => {}
            _ => self.links.push(Link::Error(text)),
        }
    }

    pub(super) fn fmt_line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, link) in self.links.iter().enumerate() {
            write!(f, "{}{link}", if index == 0 { "" } else { ": " })?;
        }
        self.situation.map_or(Ok(()), |situation| situation.fmt_short(f, self.told))
    }

    pub(super) fn fmt_tree(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, link) in self.links.iter().enumerate() {
            if depth > 0 {
                write!(f, "\n{:indent$}└ ", "", indent = 2 * (depth - 1))?;
            }
            match link {
                Link::Layer(layer) => write!(f, "{layer} at {}", layer.location())?,
                Link::Error(text) => write!(f, "{}", Plain(text))?,
            }
        }
        self.situation.map_or(Ok(()), |situation| situation.fmt_long(f, self.told))
    }
}

/// Whether what ended the context is among the error and its sources.
pub(super) fn tells_end(error: &(dyn Error + 'static), situation: &Situation) -> bool {
    let ended = situation.cause.as_ref();
    let is_it = |cause: &Cause| ended.is_some_and(|ended| cause.is_same(ended));
    find_cause(error, &is_it).is_some()
}

impl Display for Link<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer(layer) => layer.fmt(f),
            Self::Error(text) => Plain(text).fmt(f),
        }
    }
}

/// Any error and all that lies behind it, on one line: what to write into a log.
///
/// Layers of a [`TracedError`] in it are printed with their values. A source whose text the error
/// above it ends with is left out, and what could break the line is escaped.
///
/// # Examples
///
/// ```
/// use downhaul_context::traced::one_line;
///
/// #[derive(Debug, thiserror::Error)]
/// #[error("the query failed")]
/// struct Query(#[source] std::io::Error);
///
/// let error = Query(std::io::Error::other("refused\nINFO paid=true"));
/// assert_eq!(one_line(&error).to_string(), "the query failed: refused\\nINFO paid=true");
/// ```
pub fn one_line<'a>(error: &'a (dyn Error + 'static)) -> impl Display + 'a {
    fmt::from_fn(move |f| Printed::new(None, error).fmt_line(f))
}
