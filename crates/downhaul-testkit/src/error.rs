//! `NodeError`: why a private broker is not there.

use std::fmt;
use std::io;

/// Why a node could not be started, reached or asked.
#[derive(Debug)]
pub struct NodeError {
    kind: NodeErrorKind,
    detail: String,
    source: Option<io::Error>,
}

/// What kind of trouble a [`NodeError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeErrorKind {
    /// The node's command line tool said no, or could not reach the node.
    Ctl,
    /// The file system or the process table refused.
    Io,
    /// This machine does not have the broker; the text names the command that installs it.
    NotInstalled,
    /// The node exited while booting, or did not answer in time.
    Start,
    /// This kind of node cannot do what is asked of it.
    Unsupported,
}

impl NodeError {
    pub(crate) fn new(kind: NodeErrorKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), source: None }
    }

    pub(crate) fn io(detail: impl Into<String>, source: io::Error) -> Self {
        Self { kind: NodeErrorKind::Io, detail: detail.into(), source: Some(source) }
    }

    /// What kind of trouble this is.
    pub fn kind(&self) -> NodeErrorKind {
        self.kind
    }
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for NodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|error| error as _)
    }
}
