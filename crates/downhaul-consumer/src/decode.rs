//! From bytes to types.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use crate::message::Message;
use crate::panic_text::panic_text;

/// What a handler can take as the body of a message.
///
/// A message that cannot be decoded becomes a dead letter with the error as its reason.
#[diagnostic::on_unimplemented(
    message = "a message cannot be decoded as `{Self}`",
    note = "take `Json<_>`, `Bytes` or the whole `Message`, or implement `Decode`"
)]
pub trait Decode: Sized + Send {
    /// Reads the body.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] that says what is wrong with the message, so that its sender can be put
    /// right.
    fn decode(message: &Message) -> Result<Self, DecodeError>;
}

/// One whose decoder panics cannot be decoded either, and costs those beside it nothing.
pub(crate) fn decode_safely<M: Decode>(message: &Message) -> Result<M, DecodeError> {
    catch_unwind(AssertUnwindSafe(|| M::decode(message))).unwrap_or_else(|panic| {
        let words = format!("the decoder panicked: {}", panic_text(panic.as_ref()));
        Err(DecodeError::new(words))
    })
}

/// A body that is JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(
    clippy::exhaustive_structs,
    reason = "a wrapper that is taken apart in the handler's signature"
)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + Send> Decode for Json<T> {
    fn decode(message: &Message) -> Result<Self, DecodeError> {
        let mut json = serde_json::Deserializer::from_slice(message.payload());
        let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            // The error begins with the path, if there is one.
            let is_known = |segment| !matches!(segment, &Segment::Unknown);
            let at = if error.path().iter().any(is_known) { "at " } else { "" };
            DecodeError::new(format!("not the JSON expected: {at}{error}"))
        })?;
        json.end().map_err(|error| DecodeError::new(format!("not the JSON expected: {error}")))?;
        Ok(Self(value))
    }
}

/// `None` if there is no payload, as where a key of a compacted topic ends.
impl<M: Decode> Decode for Option<M> {
    fn decode(message: &Message) -> Result<Self, DecodeError> {
        (!message.payload().is_empty()).then(|| M::decode(message)).transpose()
    }
}

impl Decode for Bytes {
    fn decode(message: &Message) -> Result<Self, DecodeError> {
        Ok(message.payload().clone())
    }
}

impl Decode for Message {
    fn decode(message: &Message) -> Result<Self, DecodeError> {
        Ok(message.clone())
    }
}

/// A body that is not what the handler takes.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub struct DecodeError {
    words: String,
}

impl DecodeError {
    /// Says what is wrong.
    pub fn new(words: impl Into<String>) -> Self {
        Self { words: words.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Decode, Json};
    use crate::message::Message;

    #[test]
    fn a_message_without_a_payload_is_none_of_what_may_be_missing() {
        let decode = |body: &'static str| Option::<Json<u64>>::decode(&Message::new(body));
        assert_eq!(decode("").unwrap(), None);
        assert_eq!(decode("7").unwrap(), Some(Json(7)));
        assert!(decode("x").is_err());
    }

    #[test]
    fn what_is_not_the_json_expected_is_told_with_its_place_if_it_has_one() {
        let words = |body: &'static str| {
            Json::<Vec<u8>>::decode(&Message::new(body)).unwrap_err().to_string()
        };
        let place = "at line 1 column";
        assert_eq!(words("junk"), format!("not the JSON expected: expected value {place} 1"));
        let inner = "[1]: invalid type: string \"a\", expected u8";
        assert_eq!(words("[7,\"a\"]"), format!("not the JSON expected: at {inner} {place} 6"));
    }
}
