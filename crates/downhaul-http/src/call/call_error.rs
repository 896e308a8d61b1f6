//! [`CallError`]: why a call to another service has no answer.

use downhaul_context::Cause;
use http::StatusCode;

use crate::error::{BoxError, Error};

/// A call to another service has no answer, or not all of it.
///
/// As an [`Error`] of the handler that made it, it is a 504 where there was no time, a 502 where
/// the call failed, and what the context's cause makes otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The context of the call ended before the answer did, or before the call.
    #[error("the call was ended: {0}")]
    Ended(#[from] Cause),
    /// Its context leaves the other side less than a millisecond: nothing was sent.
    #[error("no time is left for the call")]
    NoTime,
    /// The client could not make it, or lost it.
    #[error("the call failed: {0}")]
    Failed(#[source] BoxError),
}

impl CallError {
    pub(crate) fn failed(source: impl Into<BoxError>) -> Self {
        Self::Failed(source.into())
    }

    /// Why its context ended, if that is what ended it.
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Ended(cause) => Some(cause),
            _ => None,
        }
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Ended(cause) => cause.into(),
            CallError::NoTime => Self::timeout().with_source(CallError::NoTime),
            failed => {
                let message = "a service that is needed for this did not answer; try again later";
                Self::new(StatusCode::BAD_GATEWAY, message).with_source(failed)
            }
        }
    }
}
