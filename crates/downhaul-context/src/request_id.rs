//! [`RequestId`]: one id from the socket to the last log line.

use std::cell::RefCell;
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
    static LAST: RefCell<Made> = const { RefCell::new(Made::NOTHING) };
}

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
        LAST.with_borrow_mut(|last| {
            last.go_on(now);
            last.to_id()
        })
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
        Ok(Self(ArrayString::from(text).map_or_else(|_| Text::Long(Arc::from(text)), Text::Short)))
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

/// An id that was made, and the millisecond of its time.
struct Made {
    millis: u64,
    text: [u8; Hyphenated::LENGTH],
}

impl Made {
    const NOTHING: Self = Self { millis: 0, text: [b'0'; Hyphenated::LENGTH] };

    /// Becomes the next id, which is not older if the clock was set back.
    fn go_on(&mut self, now: Duration) {
        let millis = now.as_secs() * 1000 + u64::from(now.subsec_millis());
        if millis > self.millis {
            self.begin(millis, now);
        } else {
            count_up(&mut self.text);
        }
    }

    fn to_id(&self) -> RequestId {
        let text = ArrayString::from_byte_string(&self.text);
        RequestId(Text::Short(text.expect("digits and hyphens are ASCII")))
    }

    /// Becomes the first id of a millisecond.
    #[cold]
    fn begin(&mut self, millis: u64, now: Duration) {
        let at = Timestamp::from_unix(NoContext, now.as_secs(), now.subsec_nanos());
        let id = Uuid::from_u128(Uuid::new_v7(at).as_u128() & !ROOM);
        id.hyphenated().encode_lower(&mut self.text);
        self.millis = millis;
    }
}

/// Adds one to a number of hexadecimal digits among hyphens. It mostly ends with the first.
fn count_up(text: &mut [u8]) {
    for digit in text.iter_mut().rev() {
        match *digit {
            b'-' => {}
            b'f' => *digit = b'0',
            b'9' => return *digit = b'a',
            _ => return *digit += 1,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_counted_up_as_its_number_is() {
        let base = 0x0192_3456_789a_7def_8000_0000_0000_0000_u128;
        let text = |id| Uuid::from_u128(id).hyphenated().to_string().into_bytes();
        // Before an `a`, before a digit more, and before one more behind each of the hyphens.
        for last in [0, 8, 9, 0xe, 0xf, 0x9f, 0xff, 0xffff_ffff_ffff, 0xfff_ffff_ffff_ffff] {
            let mut counted = text(base + last);
            count_up(&mut counted);
            assert_eq!(counted, text(base + last + 1), "after {last:#x}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_older_id() {
        let mut made = Made::NOTHING;
        let mut at = |millis| {
            made.go_on(Duration::from_millis(millis));
            made.text
        };
        let first = at(1_700_000_000_000);
        let second = at(1_600_000_000_000);
        let third = at(1_700_000_000_001);
        assert!(first < second && second < third);
        assert_eq!(first[..13], second[..13], "of the same millisecond");
        assert_ne!(second[..13], third[..13]);
    }
}
