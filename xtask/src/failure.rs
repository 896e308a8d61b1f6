//! `Failure`: the sentence a command ends with when it cannot do its work.

use std::error::Error;
use std::fmt;

/// What went wrong and, where it is known, what to do.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The result of a check that has printed its findings.
    pub(crate) fn of(check: &str, findings: usize) -> Result<(), Self> {
        match findings {
            0 => Ok(()),
            n => Err(Self(format!("{check}: {n} to fix, see above"))),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}
