//! Text of others in a line of ours: it can neither break the line nor pass for a part of it.

use std::fmt::{self, Display, Write as _};

/// Text with escapes in place of what could break a line or play tricks on a terminal.
pub(crate) struct Plain<'a>(pub(super) &'a str);

impl Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match breaks(c) {
                true => write!(f, "{}", c.escape_default())?,
                false => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A value, in quotes where it could be taken for more than one.
pub(crate) struct Token<'a>(pub(super) &'a str);

impl Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quotes = |c: char| breaks(c) || c.is_whitespace() || "\"'=,:{}[]<>\\".contains(c);
        match self.0.is_empty() || self.0.contains(quotes) {
            true => {
                let quoted = self.0.replace('\\', "\\\\").replace('"', "\\\"");
                write!(f, "\"{}\"", Plain(&quoted))
            }
            false => f.write_str(self.0),
        }
    }
}

/// Controls, the line and paragraph separators, and marks that turn the direction of text.
fn breaks(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
