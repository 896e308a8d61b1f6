//! [`RequestId`]: one id from the socket to the last log line.

use std::cell::Cell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrayvec::ArrayString;
use uuid::fmt::Hyphenated;
use uuid::{NoContext, Timestamp, Uuid};

thread_local! {
    /// The last id of each thread: a common one would be a lock that every request takes.
    static LAST: Cell<u128> = const { Cell::new(0) };
}

/// Below its milliseconds, a UUID of version 7 has 80 bits.
const MILLIS_AT: u32 = 80;
/// The highest of the bits that may be counted up, clear at first so that none carries further.
const ROOM: u128 = 1 << 61;

/// The bytes that an id is made of, looked up since each message's id is read.
const ALLOWED: [bool; 256] = {
    let (mut allowed, mut byte) = ([false; 256], 0);
    while byte < 256 {
        allowed[byte] = matches!(
            byte as u8,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'~' | b'-'
        );
        byte += 1;
    }
    allowed
};

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
    /// No longer than those that are made here; without memory of its own, since every request has
    /// one.
    Short(ArrayString<{ Hyphenated::LENGTH }>),
    Long(Arc<str>),
}

impl RequestId {
    /// Makes a fresh id: a UUID of version 7, which sorts by the millisecond in which it was made,
    /// and among those of its thread by their order.
    ///
    /// The first of a thread in a millisecond is random, those that follow count up from it: an id
    /// is unique, and no secret.
    pub fn generate() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut text = [0; Hyphenated::LENGTH];
        Self::of(Uuid::from_u128(next(now)).hyphenated().encode_lower(&mut text))
    }

    fn of(text: &str) -> Self {
        Self(ArrayString::from(text).map_or_else(|_| Text::Long(Arc::from(text)), Text::Short))
    }

    /// Takes an id that came from outside.
    ///
    /// # Errors
    ///
    /// [`InvalidRequestId`] if it is empty, longer than 128 bytes, or holds any other byte than the
    /// allowed ones. The error does not repeat the text.
    pub fn parse(text: &str) -> Result<Self, InvalidRequestId> {
        let is_allowed = |byte: u8| ALLOWED[usize::from(byte)];
        if text.is_empty() || text.len() > LONGEST || !text.bytes().all(is_allowed) {
            return Err(InvalidRequestId { len: text.len() });
        }
        Ok(Self::of(text))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Short(text) => text,
            Text::Long(text) => text,
        }
    }

    /// The id as text, in bytes: what headers are made of.
    pub fn as_bytes(&self) -> &[u8] {
        self.as_str().as_bytes()
    }
}

/// The id after the last of this thread, which is not older if the clock was set back.
fn next(now: Duration) -> u128 {
    let millis = u128::from(now.as_secs()) * 1000 + u128::from(now.subsec_millis());
    LAST.with(|last| {
        let next = match millis > last.get() >> MILLIS_AT {
            true => random(now),
            false => last.get() + 1,
        };
        last.set(next);
        next
    })
}

fn random(now: Duration) -> u128 {
    let at = Timestamp::from_unix(NoContext, now.as_secs(), now.subsec_nanos());
    Uuid::new_v7(at).as_u128() & !ROOM
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
