//! [`Key`]: what a message is about.

use std::fmt;

use bytes::Bytes;

use crate::message::Name;

/// The key of a message: a text, as nearly every one is, or bytes that are no UTF-8.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Text(Name),
    Bytes(Bytes),
}

impl Key {
    pub(super) fn of(bytes: &[u8]) -> Self {
        match str::from_utf8(bytes) {
            Ok(text) => Self::Text(Name::from(text)),
            Err(_) => Self::Bytes(Bytes::copy_from_slice(bytes)),
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Bytes(_) => None,
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => fmt::Debug::fmt(text, f),
            Self::Bytes(bytes) => fmt::Debug::fmt(bytes, f),
        }
    }
}
