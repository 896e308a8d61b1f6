//! What comes from a source, and what goes back to it.

use std::time::SystemTime;

use crate::broker::lane::{Lane, Revoking};
use crate::error::BrokerError;
use crate::message::{Message, Name};
use crate::origin::Position;

/// Identifies a delivery within its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u64);

impl Token {
    /// Makes a token; the number is the source's to choose, and unique in it.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// What a source tells.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A message is here.
    Delivery(Delivery),
    /// Lanes are this source's now. Those of [`Lane::ONLY`] need no word.
    Assigned(Vec<Lane>),
    /// Lanes are about to go to another consumer. What has arrived of them can still be settled,
    /// and nothing more of them is delivered.
    Revoking(Revoking),
    /// Lanes are gone, and with them all that was delivered of them: another consumer has it.
    Lost(Vec<Lane>),
    /// The broker does not answer, for the reason given. The source waits for it and goes on as it
    /// was, or returns an error when that lasts.
    Away(BrokerError),
    /// The broker that was away answers again.
    Back,
}

impl Event {
    /// The delivery, if it is one.
    pub fn into_delivery(self) -> Option<Delivery> {
        match self {
            Self::Delivery(delivery) => Some(delivery),
            _ => None,
        }
    }
}

/// A message on its way to a handler, with the token to settle it by.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Delivery {
    /// What to settle it by.
    pub token: Token,
    /// The part of the source that it comes from.
    pub lane: Lane,
    /// The message.
    pub message: Message,
    /// The topic that it was published to, if it was published to one and the broker knows.
    pub topic: Option<Name>,
    /// Where in that topic it is, if the broker is a log.
    pub position: Option<Position>,
    /// When it was published, as the broker or the publisher's clock says, if either does.
    pub timestamp: Option<SystemTime>,
    /// How often the broker has delivered it before, as far as it knows: a broker that does not
    /// count says 1 for any number.
    pub redeliveries: u32,
}

impl Delivery {
    /// Makes a first delivery in the only lane.
    pub fn new(token: Token, message: Message) -> Self {
        let (lane, topic, position, timestamp) = (Lane::ONLY, None, None, None);
        Self { token, lane, message, topic, position, timestamp, redeliveries: 0 }
    }

    /// Sets the lane.
    #[must_use]
    pub fn in_lane(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self
    }

    /// Sets the topic.
    #[must_use]
    pub fn with_topic(mut self, topic: Option<Name>) -> Self {
        self.topic = topic;
        self
    }

    /// Sets where in its topic it is.
    #[must_use]
    pub fn at(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }

    /// Sets when it was published.
    #[must_use]
    pub fn published_at(mut self, timestamp: Option<SystemTime>) -> Self {
        self.timestamp = timestamp;
        self
    }

    /// Sets how often it was delivered before.
    #[must_use]
    pub fn redelivered(mut self, redeliveries: u32) -> Self {
        self.redeliveries = redeliveries;
        self
    }
}

/// What becomes of a delivery at the broker. Retries and dead letters are published by the engine
/// and then acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(
    clippy::exhaustive_enums,
    reason = "a backend must know them all, and the engine needs no more"
)]
pub enum Verdict {
    /// It is done with.
    Ack,
    /// It was not processed: give it to someone again.
    Release,
}

/// What is known of settlements once they were made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settled {
    /// How certain it is that the broker has taken them.
    pub certainty: Certainty,
    /// Those that came too late: their lane is gone, or they were settled before. The broker has
    /// taken nothing of them.
    pub lost: Vec<Token>,
}

/// How certain a settlement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Certainty {
    /// The broker has answered.
    Confirmed,
    /// It was handed to the broker, which does not answer (AMQP 0.9.1), or answers later.
    Written,
}

impl Settled {
    /// All are confirmed.
    pub fn confirmed() -> Self {
        Self { certainty: Certainty::Confirmed, lost: Vec::new() }
    }

    /// All are written.
    pub fn written() -> Self {
        Self { certainty: Certainty::Written, lost: Vec::new() }
    }

    /// With these, which came too late.
    #[must_use]
    pub fn with_lost(mut self, tokens: Vec<Token>) -> Self {
        self.lost = tokens;
        self
    }
}
