//! [`Raw`]: bytes that are no text.

use std::fmt;

/// Bytes that are no UTF-8, and what can be read of them. Boxed where they are kept, since nearly
/// everything is text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Raw {
    pub(super) bytes: Vec<u8>,
    /// With U+FFFD in place of what is none.
    pub(super) text: String,
}

impl Raw {
    /// The text that these bytes are, if they are one.
    pub(super) fn text_or(bytes: Vec<u8>) -> Result<String, Box<Self>> {
        String::from_utf8(bytes).map_err(|error| {
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            Box::new(Self { bytes: error.into_bytes(), text })
        })
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.bytes.escape_ascii())
    }
}
