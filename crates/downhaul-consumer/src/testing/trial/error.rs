//! [`TrialError`]: why a trial cannot say what became of a message.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::error::PublishError;

/// Why a [`Trial`](super::Trial) cannot say what became of a message. Its `Display` says what has
/// happened instead.
#[derive(Debug)]
pub struct TrialError {
    words: String,
    source: Option<PublishError>,
}

impl TrialError {
    pub(super) fn not_sent(id: String, error: PublishError) -> Self {
        Self { words: format!("message {id} could not be sent"), source: Some(error) }
    }

    pub(super) fn no_end(id: &str, after: Duration, instead: String) -> Self {
        let words = format!("message {id} had no end after {after:?} of virtual time: {instead}");
        Self { words, source: None }
    }
}

impl fmt::Display for TrialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl Error for TrialError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| source as &(dyn Error + 'static))
    }
}
