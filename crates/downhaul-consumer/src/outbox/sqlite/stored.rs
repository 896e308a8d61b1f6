//! How a message lies in the table: its payload as it is, and all else as one JSON document, so
//! that a new part of a message needs no new column.

use std::borrow::Cow;
use std::time::Duration;

use rusqlite::types::Value;
use serde::{Deserialize, Serialize};

use crate::message::Message;
use crate::message::headers;
use crate::publish::{Destination, Outgoing};

#[derive(Serialize, Deserialize)]
struct Envelope {
    to: To,
    delay: Duration,
    #[serde(default)]
    optional: bool,
    id: String,
    key: Option<Stored>,
    content_type: String,
    headers: Vec<(String, Stored)>,
}

/// A text as it is, and what is none as a list of numbers.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Text(String),
    Bytes(Vec<u8>),
}

impl Stored {
    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec());
        text.map_or_else(|error| Self::Bytes(error.into_bytes()), Self::Text)
    }

    fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum To {
    Topic(String),
    Queue(String),
}

/// What a message is ordered by: its key. One that is no text is written as one, since the column
/// is; a text that is the same only waits for it without need.
pub(super) fn order_key(message: &Message) -> Option<Cow<'_, str>> {
    let bytes = message.key_bytes()?;
    let text = message.key().map(Cow::Borrowed);
    Some(text.unwrap_or_else(|| Cow::Owned(bytes.escape_ascii().to_string())))
}

/// Envelope and payload of a message.
pub(super) fn write(outgoing: &Outgoing) -> rusqlite::Result<(String, Value)> {
    let message = &outgoing.message;
    let own =
        |(name, value): (&str, &headers::Value)| (name.to_owned(), Stored::of(value.as_bytes()));
    let envelope = Envelope {
        to: match &outgoing.destination {
            Destination::Topic(name) => To::Topic(name.to_string()),
            Destination::Queue(name) => To::Queue(name.to_string()),
        },
        delay: outgoing.delay,
        optional: outgoing.optional,
        id: message.id().to_owned(),
        key: message.key_bytes().map(Stored::of),
        content_type: message.content_type().to_owned(),
        headers: message.headers().iter().map(own).collect(),
    };
    let envelope = serde_json::to_string(&envelope)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    Ok((envelope, Value::Blob(message.payload().to_vec())))
}

/// The message of an envelope and a payload.
pub(super) fn read(envelope: &str, payload: Vec<u8>) -> Result<Outgoing, serde_json::Error> {
    let envelope: Envelope = serde_json::from_str(envelope)?;
    let mut message =
        Message::new(payload).with_id(envelope.id).with_content_type(envelope.content_type);
    if let Some(key) = envelope.key {
        message = message.with_key_bytes(key.into_bytes());
    }
    let headers = envelope.headers.into_iter();
    let headers = headers.map(|(name, value)| (name, value.into_bytes()));
    message.headers_mut().extend(headers);
    let outgoing = match envelope.to {
        To::Topic(name) => Outgoing::to_topic(name, message),
        To::Queue(name) => Outgoing::to_queue(name, message),
    };
    Ok(Outgoing { optional: envelope.optional, ..outgoing.after(envelope.delay) })
}
