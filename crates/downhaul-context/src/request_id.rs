//! [`RequestId`]: one id from the socket to the last log line.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use uuid::fmt::Hyphenated;
use uuid::{ContextV7, Timestamp, Uuid};

thread_local! {
    /// One for each thread: a common one would be a lock that every request takes.
    static COUNTER: ContextV7 = const { ContextV7::new() };
}

/// The longest request id that is accepted from outside, in bytes.
const LONGEST: usize = 128;

/// An id that follows a request through HTTP, messages, logs and spans.
///
/// It is 1 to 128 bytes of `A-Z a-z 0-9 . _ ~ -`, so it can stand in a header, a log line and a URL
/// as it is. Whatever comes from outside goes through [`RequestId::parse`]; when that fails, make a
/// fresh one.
///
/// # Examples
///
/// ```
/// use downhaul_context::RequestId;
///
/// let inbound = RequestId::parse("order-7f.3");
/// assert_eq!(inbound.unwrap().as_str(), "order-7f.3");
///
/// // A forged log line does not get in.
/// let id = RequestId::parse("x\nINFO paid=true").unwrap_or_else(|_| RequestId::generate());
/// assert_eq!(id.as_str().len(), 36);
/// ```
#[derive(Clone)]
pub struct RequestId(Text);

#[derive(Clone)]
enum Text {
    /// Made here; without memory of its own, since every request has one.
    Fresh([u8; Hyphenated::LENGTH]),
    /// Came from outside.
    Given(Arc<str>),
}

impl RequestId {
    /// Makes a fresh id: a UUID of version 7, which sorts by the millisecond in which it was made,
    /// and among those of its thread by their order.
    pub fn generate() -> Self {
        let now = COUNTER.with(|counter| Timestamp::now(counter));
        let mut text = [0; Hyphenated::LENGTH];
        Uuid::new_v7(now).hyphenated().encode_lower(&mut text);
        Self(Text::Fresh(text))
    }

    /// Takes an id that came from outside.
    ///
    /// # Errors
    ///
    /// [`InvalidRequestId`] if it is empty, longer than 128 bytes, or holds any other byte than the
    /// allowed ones. The error does not repeat the text.
    pub fn parse(text: &str) -> Result<Self, InvalidRequestId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
        if text.is_empty() || text.len() > LONGEST || !text.bytes().all(allowed) {
            return Err(InvalidRequestId { len: text.len() });
        }
        Ok(Self(Text::Given(Arc::from(text))))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            // Hexadecimal digits and hyphens are always text.
            Text::Fresh(text) => str::from_utf8(text).unwrap_or_default(),
            Text::Given(text) => text,
        }
    }

    /// The id as text, in bytes: what headers are made of.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Fresh(text) => text,
            Text::Given(text) => text.as_bytes(),
        }
    }
}

impl PartialEq for RequestId {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for RequestId {}

impl Hash for RequestId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl FromStr for RequestId {
    type Err = InvalidRequestId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl AsRef<str> for RequestId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

/// Text that cannot be a [`RequestId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a request id: want 1 to {LONGEST} bytes of `A-Z a-z 0-9 . _ ~ -`, got {len} bytes")]
pub struct InvalidRequestId {
    len: usize,
}
