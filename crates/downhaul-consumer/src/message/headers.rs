//! [`Headers`]: pairs that travel with a message, and the names that Downhaul itself uses.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

pub use crate::message::value::Value;

/// The request id of the work that the message belongs to.
pub const REQUEST_ID: &str = "request-id";
/// W3C trace context: the position in the trace.
pub const TRACEPARENT: &str = "traceparent";
/// W3C trace context: what vendors add.
pub const TRACESTATE: &str = "tracestate";
/// Which attempt at handling the message this is; absent on the first.
pub const ATTEMPT: &str = "attempt";
/// Why a message is a dead letter, in a few words: at most 1,024 bytes, and 64 or none where the
/// broker has no room for them.
pub const DEAD_REASON: &str = "dead-reason";
/// The queue that a dead letter comes from.
pub const ORIGIN_QUEUE: &str = "origin-queue";
/// The topic that the message was first published to.
pub const TOPIC: &str = "topic";
/// The partition of a log that it was read from first.
pub const ORIGIN_PARTITION: &str = "origin-partition";
/// The offset in that partition.
pub const ORIGIN_OFFSET: &str = "origin-offset";
/// When it was first published, in milliseconds since 1970, UTC; of one that came back to its
/// queue.
pub const TIMESTAMP: &str = "timestamp-ms";

/// The key of a message, where the broker has no place of its own for it.
pub const KEY: &str = "key";
/// Until when handling the message makes sense, in milliseconds since 1970, UTC.
pub const DEADLINE: &str = "deadline-ms";
/// When the first attempt failed, in milliseconds since 1970, UTC.
pub const FIRST_FAILED: &str = "first-failed-ms";
/// The last error of a dead letter, on one line: at most 1,024 bytes, and none where the broker has
/// no room for them.
pub const DEAD_ERROR: &str = "dead-error";

/// The names above.
const OWN: [&str; 14] = [
    REQUEST_ID,
    TRACEPARENT,
    TRACESTATE,
    ATTEMPT,
    DEAD_REASON,
    ORIGIN_QUEUE,
    TOPIC,
    ORIGIN_PARTITION,
    ORIGIN_OFFSET,
    TIMESTAMP,
    KEY,
    DEADLINE,
    FIRST_FAILED,
    DEAD_ERROR,
];

/// What was with a message before it is published anew.
pub(crate) const OF_WHAT_WAS_BEFORE: [&str; 5] =
    [ATTEMPT, FIRST_FAILED, ORIGIN_PARTITION, ORIGIN_OFFSET, TIMESTAMP];

/// A name as a backend has read it, for [`Headers::set`]: one of Downhaul's own, which most
/// messages bear, is the constant and not a copy.
///
/// # Examples
///
/// ```
/// use std::borrow::Cow;
///
/// use downhaul_consumer::headers;
///
/// assert!(matches!(headers::name_of("request-id"), Cow::Borrowed(headers::REQUEST_ID)));
/// assert_eq!(headers::name_of("tenant"), "tenant");
/// ```
pub fn name_of(read: &str) -> Cow<'static, str> {
    let own = OWN.into_iter().find(|own| *own == read);
    own.map_or_else(|| Cow::Owned(read.to_owned()), Cow::Borrowed)
}

/// Names and values in the order in which they were set. Names are compared as they are: write them
/// in lower case.
///
/// Values are texts, and what other programs wrote as something else is kept as it came.
///
/// No name of Downhaul's own begins with `x-`, which RabbitMQ keeps for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(Cow<'static, str>, Value)>);

impl Headers {
    /// The text that `name` has. `None` also if what it has is no text: that is in
    /// [`get_bytes`](Self::get_bytes).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.find(name)?.as_text()
    }

    /// The bytes that `name` has, whether they are a text or not.
    pub fn get_bytes(&self, name: &str) -> Option<&[u8]> {
        self.find(name).map(Value::as_bytes)
    }

    fn find(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Sets `name` to `value`, in place of any value it had.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// Takes `name` away and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let index = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(index).1)
    }

    /// All names and values together, in bytes.
    pub(super) fn size(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.as_bytes().len()).sum()
    }

    /// All pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }
}

/// How many are looked through sooner than hashed.
const FEW: usize = 32;

/// As [`set`](Headers::set) for one after the other, in a time that grows with their number alone:
/// what comes from others may have very many.
impl<N: Into<Cow<'static, str>>, V: Into<Value>> Extend<(N, V)> for Headers {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, pairs: I) {
        let mut places = HashMap::new();
        for (name, value) in pairs {
            if self.0.len() < FEW {
                self.set(name, value);
                continue;
            }
            if places.is_empty() {
                places = (0..).zip(&self.0).map(|(place, pair)| (pair.0.clone(), place)).collect();
            }
            match places.entry(name.into()) {
                Entry::Occupied(place) => self.0[*place.get()].1 = value.into(),
                Entry::Vacant(place) => {
                    self.0.push((place.key().clone(), value.into()));
                    place.insert(self.0.len() - 1);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn very_many_headers_are_the_same_as_if_they_were_set_one_by_one() {
        for count in [0, 1, FEW - 1, FEW, FEW + 1, 10 * FEW] {
            let pairs = || (0..count).map(|number| ((number * 7 % 50).to_string(), number));
            let pairs = || pairs().map(|(name, value)| (name, value.to_string()));
            let (mut at_once, mut singly) = (Headers::default(), Headers::default());
            at_once.set("before", "0");
            singly.set("before", "0");
            at_once.extend(pairs());
            pairs().for_each(|(name, value)| singly.set(name, value));
            assert_eq!(at_once, singly);
        }
    }

    /// It would take hours, were each compared with all before it.
    #[test]
    fn a_million_headers_are_read_at_once() {
        let mut headers = Headers::default();
        headers.extend((0..1_000_000).map(|number| (number.to_string(), "")));
        assert_eq!(headers.iter().count(), 1_000_000);
    }
}
