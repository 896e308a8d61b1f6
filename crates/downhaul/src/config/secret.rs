//! [`Secret`]: a text that is not shown.

use std::fmt;

/// A text that is not shown: its `Debug` is `<redacted>`, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// What stands for a secret.
pub(super) const REDACTED: &str = "<redacted>";

impl Secret {
    /// Takes a text that is not to be shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever has to know it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}
