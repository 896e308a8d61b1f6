//! [`Origin`]: where and when a message was published first, which travels with it.

use std::time::{Duration, SystemTime};

use crate::broker::Delivery;
use crate::message::headers::{self, Headers};
use crate::message::{Message, Name};

/// A place in a partitioned log: of a topic, a partition and an offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(clippy::exhaustive_structs, reason = "a log has these two and no more")]
pub struct Position {
    /// Which partition, from 0.
    pub partition: u32,
    /// Which record of it, from 0.
    pub offset: u64,
}

/// What its broker says of a message that comes from a topic. One that came back to its queue,
/// from a delay or from the dead letters, has it in headers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    topic: Option<Name>,
    position: Option<Position>,
    timestamp: Option<SystemTime>,
}

impl Origin {
    /// Takes it out of a delivery.
    pub(crate) fn take(delivery: &mut Delivery) -> Self {
        let (position, timestamp) = (delivery.position, delivery.timestamp);
        Self { topic: delivery.topic.take(), position, timestamp }
    }

    /// Whether it is told by the broker, and not by headers.
    pub(crate) fn is_topic(&self) -> bool {
        self.topic.is_some()
    }

    pub(crate) fn topic<'a>(&'a self, headers: &'a Headers) -> Option<&'a str> {
        self.topic.as_deref().or_else(|| headers.get(headers::TOPIC))
    }

    pub(crate) fn position(&self, headers: &Headers) -> Option<Position> {
        if self.is_topic() {
            return self.position;
        }
        let partition = headers.get(headers::ORIGIN_PARTITION)?.parse().ok()?;
        Some(Position { partition, offset: headers.get(headers::ORIGIN_OFFSET)?.parse().ok()? })
    }

    pub(crate) fn timestamp(&self, headers: &Headers) -> Option<SystemTime> {
        let told = || since_epoch(headers.get(headers::TIMESTAMP)?.parse().ok()?);
        let told = if self.is_topic() { None } else { told() };
        told.or(self.timestamp)
    }

    /// Writes it into the headers, since what goes to a queue goes past its topic.
    pub(crate) fn write(&self, message: &mut Message) {
        let headers = message.headers();
        let topic = self.topic(headers).map(str::to_owned);
        let (position, timestamp) = (self.position(headers), self.timestamp(headers));
        let headers = message.headers_mut();
        if let Some(topic) = topic {
            headers.set(headers::TOPIC, topic);
        }
        if let Some(Position { partition, offset }) = position {
            headers.set(headers::ORIGIN_PARTITION, partition.to_string());
            headers.set(headers::ORIGIN_OFFSET, offset.to_string());
        }
        if let Some(since) = timestamp.and_then(|it| it.duration_since(SystemTime::UNIX_EPOCH).ok())
        {
            headers.set(headers::TIMESTAMP, since.as_millis().to_string());
        }
    }
}

fn since_epoch(millis: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Token;

    const PLACE: Position = Position { partition: 3, offset: 1 << 40 };

    fn published() -> SystemTime {
        since_epoch(1_700_000_000_123).unwrap()
    }

    fn from_a_topic(message: Message) -> Delivery {
        let delivery = Delivery::new(Token::new(1), message).with_topic(Some("orders".into()));
        delivery.at(PLACE).published_at(Some(published()))
    }

    #[test]
    fn what_comes_back_tells_where_and_when_it_was_published_first() {
        let mut message = Message::new("1");
        Origin::take(&mut from_a_topic(message.clone())).write(&mut message);
        let later = published() + Duration::from_secs(60);
        let mut back = Delivery::new(Token::new(2), message.clone()).published_at(Some(later));
        let (origin, headers) = (Origin::take(&mut back), message.headers());
        assert_eq!(origin.topic(headers), Some("orders"));
        assert_eq!(origin.position(headers), Some(PLACE));
        assert_eq!(origin.timestamp(headers), Some(published()));
        // And once more.
        let mut again = message.clone();
        origin.write(&mut again);
        assert_eq!(again, message);
    }

    #[test]
    fn what_a_topic_says_is_not_told_by_headers() {
        let message = Message::new("1")
            .with_header(headers::TOPIC, "theirs")
            .with_header(headers::ORIGIN_PARTITION, "7")
            .with_header(headers::ORIGIN_OFFSET, "7")
            .with_header(headers::TIMESTAMP, "7");
        let origin = Origin::take(&mut from_a_topic(message.clone()));
        let headers = message.headers();
        assert_eq!(origin.topic(headers), Some("orders"));
        assert_eq!(origin.position(headers), Some(PLACE));
        assert_eq!(origin.timestamp(headers), Some(published()));
    }

    #[test]
    fn headers_that_cannot_be_read_tell_nothing() {
        let message = Message::new("1")
            .with_header(headers::ORIGIN_PARTITION, "-1")
            .with_header(headers::ORIGIN_OFFSET, "7")
            .with_header(headers::TIMESTAMP, "yesterday");
        let origin = Origin::take(&mut Delivery::new(Token::new(1), message.clone()));
        assert_eq!(origin.position(message.headers()), None);
        assert_eq!(origin.timestamp(message.headers()), None);
    }
}
