//! [`Value`]: what a header says.

use std::fmt;

use crate::message::raw::Raw;

/// The value of a header: a text, as nearly every one is, or the bytes that another program made
/// of something else.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::Message;
/// use downhaul_consumer::headers::Value;
///
/// let message = Message::new("").with_header("tenant", "acme");
/// let message = message.with_header("schema", Value::bytes([0xff, 0x07]));
/// assert_eq!(message.headers().get_bytes("schema"), Some([0xff, 0x07].as_slice()));
/// assert_eq!(message.headers().get("schema"), Some("\u{fffd}\u{7}"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Text(String),
    Raw(Box<Raw>),
}

impl Value {
    /// A value of any bytes. Those that are UTF-8 are the same as their text.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Raw::text_or(bytes.into()).map_or_else(Kind::Raw, Kind::Text))
    }

    /// The value as text, with U+FFFD in place of what is none.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Kind::Text(text) => text,
            Kind::Raw(raw) => &raw.text,
        }
    }

    /// The value as it is sent.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Kind::Text(text) => text.as_bytes(),
            Kind::Raw(raw) => &raw.bytes,
        }
    }

    pub(super) fn into_text(self) -> String {
        match self.0 {
            Kind::Text(text) => text,
            Kind::Raw(raw) => raw.text,
        }
    }
}

impl<T: Into<String>> From<T> for Value {
    fn from(text: T) -> Self {
        Self(Kind::Text(text.into()))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Text(text) => fmt::Debug::fmt(text, f),
            Kind::Raw(raw) => fmt::Debug::fmt(raw, f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_a_text_are_that_text() {
        assert_eq!(Value::bytes("blue"), Value::from("blue"));
        assert_ne!(Value::bytes([0xff]), Value::from("\u{fffd}"));
        assert_eq!(Value::bytes([0xff]).as_str(), "\u{fffd}");
    }

    #[test]
    fn what_is_no_text_is_shown_as_bytes() {
        assert_eq!(format!("{:?}", Value::bytes([b'a', 0xff, 0])), r#"b"a\xff\x00""#);
        assert_eq!(format!("{:?}", Value::from("a")), r#""a""#);
    }

    /// Room for bytes costs a header that is a text nothing.
    #[test]
    fn a_value_is_as_large_as_a_text() {
        assert_eq!(size_of::<Value>(), size_of::<String>());
    }
}
