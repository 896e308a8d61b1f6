//! [`Message`]: an id, a key, headers and bytes.

pub mod headers;
mod id;
mod key;
mod name;
mod value;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use downhaul_context::{Context, RequestId};
use serde::Serialize;

use crate::message::headers::{Headers, Value};
use crate::message::id::Id;
pub(crate) use crate::message::key::Key;
pub use crate::message::name::Name;

/// What a publisher sends and a consumer gets: an id, a key, headers and a payload.
///
/// Cloning is cheap: clones share all of it until one of them is changed.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::Message;
///
/// let message = Message::json(&serde_json::json!({ "order": 7 }))
///     .unwrap()
///     .with_id("order-7.created")
///     .with_key("customer-3")
///     .with_header("tenant", "acme");
/// assert_eq!(message.id(), "order-7.created");
/// assert_eq!(message.headers().get("tenant"), Some("acme"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Message(Arc<Content>);

/// Shared by all clones, until one of them is changed. A message goes through many hands between
/// its publisher and its handler, and so is no more than a pointer in them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    id: Id,
    key: Option<Key>,
    content_type: Cow<'static, str>,
    headers: Headers,
    payload: Bytes,
}

/// The media type of a message that was not given another.
const BYTES: &str = "application/octet-stream";

impl Message {
    /// Makes a message of bytes with a fresh id, a UUID of version 7.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self::identified_by(Id::fresh(), payload.into())
    }

    /// Makes a message of bytes with an id that it has already, as a broker does that delivers it.
    pub fn identified(id: impl AsRef<str>, payload: impl Into<Bytes>) -> Self {
        Self::identified_by(Id::of(id.as_ref()), payload.into())
    }

    fn identified_by(id: Id, payload: Bytes) -> Self {
        Self(Arc::new(Content {
            id,
            key: None,
            content_type: Cow::Borrowed(BYTES),
            headers: Headers::default(),
            payload,
        }))
    }

    fn content_mut(&mut self) -> &mut Content {
        Arc::make_mut(&mut self.0)
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
    /// duplicate. An empty one is none, and a fresh one takes its place.
    #[must_use]
    pub fn with_id(mut self, id: impl AsRef<str>) -> Self {
        self.content_mut().id = Id::of(id.as_ref());
        self
    }

    /// Sets the key: what the message is about. A consumer that is
    /// [ordered](crate::Consumer::ordered) handles messages of one key one after the other, in the
    /// order in which they came; a partitioned log keeps them in one partition.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Name>) -> Self {
        self.content_mut().key = Some(Key::Text(key.into()));
        self
    }

    /// The same with a key that is no text, as a log may have: a number in eight bytes, or what a
    /// serializer made.
    #[must_use]
    pub fn with_key_bytes(mut self, key: impl AsRef<[u8]>) -> Self {
        self.content_mut().key = Some(Key::of(key.as_ref()));
        self
    }

    /// Sets the media type of the payload.
    #[must_use]
    pub fn with_content_type(mut self, content_type: impl Into<Cow<'static, str>>) -> Self {
        self.content_mut().content_type = content_type.into();
        self
    }

    /// Sets until when handling the message makes sense. After that it becomes a dead letter
    /// instead, and the context of its handler ends by then. Kept as a header, in whole
    /// milliseconds; a time before 1970 counts as 1970.
    #[must_use]
    pub fn with_deadline(self, deadline: SystemTime) -> Self {
        let since = deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.with_header(headers::DEADLINE, since.as_millis().to_string())
    }

    /// Sets the [deadline](Self::with_deadline) to that of `ctx`, if it has one: for messages that
    /// make no sense any more when the request that they come from is over.
    #[must_use]
    pub fn with_deadline_of(self, ctx: &Context) -> Self {
        match ctx.remaining() {
            Some(left) => self.with_deadline(SystemTime::now() + left),
            None => self,
        }
    }

    /// Sets a header; see [`Headers::set`].
    #[must_use]
    pub fn with_header(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Value>,
    ) -> Self {
        self.headers_mut().set(name, value);
        self
    }

    /// The id, unique to the message and the same on every delivery of it.
    pub fn id(&self) -> &str {
        self.0.id.as_str()
    }

    /// The request that it belongs to. A message that comes from none, or names it by an id that is
    /// not valid, is one itself, by its own id; a fresh one where that cannot be one.
    pub(crate) fn request(&self) -> RequestId {
        let inbound = self.0.headers.get(headers::REQUEST_ID);
        if let Some(id) = inbound.and_then(|id| RequestId::parse(id).ok()) {
            return id;
        }
        self.0.id.to_request()
    }

    /// The key, if it has one. `None` also if that is no text: it is in
    /// [`key_bytes`](Self::key_bytes).
    pub fn key(&self) -> Option<&str> {
        self.0.key.as_ref()?.as_text()
    }

    /// The key, if it has one, whether it is a text or not.
    pub fn key_bytes(&self) -> Option<&[u8]> {
        self.0.key.as_ref().map(Key::as_bytes)
    }

    /// The key, to be kept.
    pub(crate) fn own_key(&self) -> Option<&Key> {
        self.0.key.as_ref()
    }

    /// Until when handling the message makes sense. `None` also where the header cannot be read.
    pub fn deadline(&self) -> Option<SystemTime> {
        let millis = self.0.headers.get(headers::DEADLINE)?.parse().ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis))
    }

    /// The media type of the payload.
    pub fn content_type(&self) -> &str {
        &self.0.content_type
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        &self.0.headers
    }

    /// The headers, to change them.
    pub fn headers_mut(&mut self) -> &mut Headers {
        &mut self.content_mut().headers
    }

    /// The payload and the headers, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.0.payload.len() + self.0.headers.size()
    }

    /// The payload.
    pub fn payload(&self) -> &Bytes {
        &self.0.payload
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_does_not_see_what_is_changed_later() {
        let mut message = Message::new("1").with_id("one").with_header("tenant", "acme");
        let before = message.clone();
        message.headers_mut().set("tenant", "umbrella");
        let message = message.with_key("k");
        assert_eq!((before.headers().get("tenant"), before.key()), (Some("acme"), None));
        assert_eq!((message.headers().get("tenant"), message.key()), (Some("umbrella"), Some("k")));
        assert_eq!((message.id(), message.payload()), (before.id(), before.payload()));
        assert_ne!(message, before);
    }

    #[test]
    fn a_key_that_is_no_text_is_no_other_key() {
        let number = 200_i64.to_be_bytes();
        let message = Message::new("1").with_key_bytes(number);
        assert_eq!((message.key_bytes(), message.key()), (Some(number.as_slice()), None));
        let other = message.clone().with_key_bytes(201_i64.to_be_bytes());
        assert_ne!(message.own_key(), other.own_key());
        let text = message.with_key_bytes("k");
        assert_eq!(text.own_key(), text.clone().with_key("k").own_key());
    }

    #[test]
    fn a_message_can_be_made_with_its_id() {
        let (identified, renamed) = (Message::identified("one", "1"), Message::new("1"));
        assert_eq!(identified, renamed.with_id("one"));
    }

    #[test]
    fn a_message_is_no_larger_than_a_pointer() {
        assert_eq!(size_of::<Message>(), size_of::<usize>());
    }
}
