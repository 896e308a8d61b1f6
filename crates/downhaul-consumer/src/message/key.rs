//! [`Key`]: what a message is about.

use std::fmt;

use crate::message::Name;
use crate::message::raw::Raw;

/// The key of a message. Two are the same if their bytes are.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Text(Name),
    Raw(Box<Raw>),
}

impl Key {
    pub(super) fn of_bytes(bytes: &[u8]) -> Self {
        match str::from_utf8(bytes) {
            Ok(text) => Self::Text(Name::from(text)),
            Err(_) => Raw::text_or(bytes.to_vec())
                .map_or_else(Self::Raw, |text| Self::Text(Name::from(text))),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Raw(raw) => &raw.text,
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Raw(raw) => &raw.bytes,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => fmt::Debug::fmt(text, f),
            Self::Raw(raw) => fmt::Debug::fmt(raw, f),
        }
    }
}
