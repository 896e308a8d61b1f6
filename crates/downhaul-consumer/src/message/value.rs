//! [`Value`]: what a header says.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::message::Name;

/// The value of a header: a text, as nearly every one is, or bytes that are no UTF-8, as programs
/// write them that have serializers for headers.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::Message;
///
/// let message = Message::new("").with_header("tenant", "acme").with_header("schema", [0xff, 7]);
/// assert_eq!(message.headers().get("tenant"), Some("acme"));
/// assert_eq!(message.headers().get("schema"), None);
/// assert_eq!(message.headers().get_bytes("schema"), Some([0xff, 7].as_slice()));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(Kind);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Text(String),
    Bytes(Box<[u8]>),
}

impl Value {
    /// The text that it is; `None` if it is none.
    pub fn as_text(&self) -> Option<&str> {
        match &self.0 {
            Kind::Text(text) => Some(text),
            Kind::Bytes(_) => None,
        }
    }

    /// The bytes that are sent: UTF-8 if it is a text.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Kind::Text(text) => text.as_bytes(),
            Kind::Bytes(bytes) => bytes,
        }
    }
}

/// Those that are UTF-8 are the same as their text.
impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        let text = String::from_utf8(bytes);
        Self(text.map_or_else(|error| Kind::Bytes(error.into_bytes().into()), Kind::Text))
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::from(bytes.to_vec())
    }
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(bytes: [u8; N]) -> Self {
        Self::from(bytes.to_vec())
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self::from(Vec::from(bytes))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self(Kind::Text(text))
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::from(text.clone())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl From<Cow<'_, str>> for Value {
    fn from(text: Cow<'_, str>) -> Self {
        Self::from(text.into_owned())
    }
}

impl From<Name> for Value {
    fn from(name: Name) -> Self {
        Self::from(name.as_str())
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq<str> for Value {
    fn eq(&self, text: &str) -> bool {
        self.as_text() == Some(text)
    }
}

impl PartialEq<&str> for Value {
    fn eq(&self, text: &&str) -> bool {
        self == *text
    }
}

/// As a text, or as bytes: `"acme"`, `b"\xff\x07"`.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Text(text) => fmt::Debug::fmt(text, f),
            Kind::Bytes(bytes) => write!(f, "b\"{}\"", bytes.escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_a_text_are_that_text_and_others_are_none() {
        assert_eq!(Value::from(*b"blue"), Value::from("blue"));
        assert_eq!(Value::from(*b"blue"), "blue");
        assert_eq!(Value::from([0xff]).as_text(), None);
        assert_eq!(Value::from([0xff]).as_bytes(), [0xff]);
    }

    #[test]
    fn what_is_no_text_is_shown_as_bytes() {
        assert_eq!(format!("{:?}", Value::from([b'a', 0xff, 0])), r#"b"a\xff\x00""#);
        assert_eq!(format!("{:?}", Value::from("a")), r#""a""#);
    }

    /// Room for bytes costs a header that is a text nothing.
    #[test]
    fn a_value_is_as_large_as_a_text() {
        assert_eq!(size_of::<Value>(), size_of::<String>());
    }
}
