//! [`Layer`]: a place that an error came through, with what is worth knowing of it.

use std::fmt::{self, Display, Write as _};
use std::panic::Location;

use smol_str::{SmolStr, SmolStrBuilder};

use crate::text::Token;

/// How much of a value is kept, in bytes.
const LONGEST_VALUE: usize = 512;

/// A place that an error came through: a name, a place in the code, and values.
#[derive(Clone)]
pub struct Layer {
    name: &'static str,
    location: &'static Location<'static>,
    values: Vec<(&'static str, Shown)>,
}

impl Layer {
    pub(super) fn new(name: &'static str, location: &'static Location<'static>) -> Self {
        Self { name, location, values: Vec::new() }
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where in the code it was added.
    pub fn location(&self) -> &'static Location<'static> {
        self.location
    }

    /// Its keys and values, in their order; `None` for a secret.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, Option<&str>)> {
        self.values.iter().map(|(key, value)| (*key, value.as_str()))
    }

    pub(super) fn set(&mut self, key: &'static str, value: Shown) {
        self.values.push((key, value));
    }
}

/// The name and the values: `repo.find_order{order=7, token=<redacted>}`.
impl Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        for (index, (key, value)) in self.values.iter().enumerate() {
            write!(f, "{}{key}={value}", if index == 0 { "{" } else { ", " })?;
        }
        f.write_str(if self.values.is_empty() { "" } else { "}" })
    }
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Layer({self} at {})", self.location)
    }
}

/// What is kept of a value: its text, or that it was a secret.
#[derive(Clone)]
pub(super) enum Shown {
    Text(SmolStr),
    Secret,
}

impl Shown {
    pub(super) fn text(value: impl Display) -> Self {
        let mut kept = Kept { text: SmolStrBuilder::new(), room: LONGEST_VALUE };
        // It fails where the value is longer than what is kept, or cannot print itself.
        if write!(kept, "{value}").is_err() {
            kept.text.push('…');
        }
        Self::Text(kept.text.finish())
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Secret => None,
        }
    }
}

impl Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => Token(text).fmt(f),
            Self::Secret => f.write_str("<redacted>"),
        }
    }
}

/// The first bytes of what is written.
struct Kept {
    text: SmolStrBuilder,
    room: usize,
}

impl fmt::Write for Kept {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = text.floor_char_boundary(self.room);
        self.text.push_str(&text[..fits]);
        self.room -= fits;
        if fits < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}
