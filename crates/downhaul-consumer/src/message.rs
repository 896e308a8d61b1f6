//! [`Message`]: an id, headers and bytes.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use crate::headers::Headers;

/// What a publisher sends and a consumer gets: an id, headers and a payload.
///
/// Cloning is cheap in the payload, which is shared.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::Message;
///
/// let message = Message::json(&serde_json::json!({ "order": 7 }))
///     .unwrap()
///     .with_id("order-7.created")
///     .with_header("tenant", "acme");
/// assert_eq!(message.id(), "order-7.created");
/// assert_eq!(message.headers().get("tenant"), Some("acme"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    id: String,
    content_type: Cow<'static, str>,
    headers: Headers,
    payload: Bytes,
}

impl Message {
    /// Makes a message of bytes with a fresh id, a UUID of version 7.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self {
            id: Uuid::now_v7().to_string(),
            content_type: Cow::Borrowed("application/octet-stream"),
            headers: Headers::default(),
            payload: payload.into(),
        }
    }

    /// Makes a message of a value as JSON, with a fresh id.
    ///
    /// # Errors
    ///
    /// If the value cannot be written as JSON, such as a map whose keys are not strings.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        let message = Self::new(serde_json::to_vec(value)?);
        Ok(message.with_content_type("application/json"))
    }

    /// Sets the id. Give the same id to what is the same message, so that consumers can tell a
    /// duplicate.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Sets the media type of the payload.
    #[must_use]
    pub fn with_content_type(mut self, content_type: impl Into<Cow<'static, str>>) -> Self {
        self.content_type = content_type.into();
        self
    }

    /// Sets a header; see [`Headers::set`].
    #[must_use]
    pub fn with_header(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<String>,
    ) -> Self {
        self.headers.set(name, value);
        self
    }

    /// The id, unique to the message and the same on every delivery of it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The media type of the payload.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The headers, to change them.
    pub fn headers_mut(&mut self) -> &mut Headers {
        &mut self.headers
    }

    /// The payload.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }
}
