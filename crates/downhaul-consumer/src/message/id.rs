//! [`Id`]: the id of a message.

use downhaul_context::RequestId;

use crate::message::Name;

/// The id of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Id {
    /// One that is made here is, and nearly every other one could be, that of a request.
    Request(RequestId),
    Other(Name),
}

impl Id {
    /// Unique, and sorted by time.
    pub(super) fn fresh() -> Self {
        Self::Request(RequestId::generate())
    }

    /// This one; a fresh one where it is empty, lest all that have none have the same.
    pub(super) fn of(text: &str) -> Self {
        if text.is_empty() {
            return Self::fresh();
        }
        RequestId::parse(text).map_or_else(|_| Self::Other(Name::from(text)), Self::Request)
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Request(id) => id.as_str(),
            Self::Other(id) => id,
        }
    }

    /// The same as the id of a request; a fresh one where it cannot be one.
    pub(super) fn to_request(&self) -> RequestId {
        match self {
            Self::Request(id) => id.clone(),
            Self::Other(_) => RequestId::generate(),
        }
    }
}
