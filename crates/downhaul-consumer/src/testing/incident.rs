//! [`Fault`]: what can be made to go wrong, and [`Incident`]: one that did.

use std::fmt;
use std::time::Duration;

use crate::message::Name;

/// What can be made to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The link of a source is lost: what is unsettled comes again.
    LinkLost,
    /// Verdicts are lost with the link, before the broker took them.
    SettlementLost,
    /// The broker took the verdicts, and the link was lost before it said so.
    SettlementUnanswered,
    /// It takes a while until the broker gets the verdicts.
    SettlementSlow,
    /// A message is delivered twice at once, and each of the two can be settled.
    Duplicated,
    /// A delivery comes later, with all of its key behind it.
    Delayed,
    /// A delivery comes after the next one of another key, or after a second if there is none.
    Reordered,
    /// The broker cannot be reached to open a source or a sink.
    OpeningRefused,
    /// The broker answers a message with a nack: its publish is
    /// [`Nacked`](crate::PublishErrorKind::Nacked).
    PublishNacked,
    /// A message is lost on its way to the broker: its publish is
    /// [`Unknown`](crate::PublishErrorKind::Unknown), and it is in no queue.
    PublishLost,
    /// The broker's answer is lost: the publish is [`Unknown`](crate::PublishErrorKind::Unknown),
    /// and the message is in its queues.
    AnswerLost,
    /// It takes a while until a message is sent.
    SendSlow,
}

impl Fault {
    /// What can happen to a delivery.
    pub(super) const OF_DELIVERIES: &[Self] =
        &[Self::LinkLost, Self::Duplicated, Self::Delayed, Self::Reordered];
    /// What can happen to a batch of verdicts.
    pub(super) const OF_SETTLEMENTS: &[Self] =
        &[Self::SettlementLost, Self::SettlementUnanswered, Self::SettlementSlow];
    /// What can happen to an opening.
    pub(super) const OF_OPENINGS: &[Self] = &[Self::OpeningRefused];
    /// What can happen to a message that is published.
    pub(super) const OF_SENDS: &[Self] =
        &[Self::PublishNacked, Self::PublishLost, Self::AnswerLost, Self::SendSlow];
}

/// A fault that has happened.
///
/// `Display` writes it on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Incident {
    /// When, since the [`FaultyBroker`](super::FaultyBroker) was first used, by tokio's clock.
    pub at: Duration,
    /// What.
    pub fault: Fault,
    /// The queue or topic that it happened to; `None` where a sink was not opened.
    pub place: Option<Name>,
    /// The ids of the messages concerned: what was unsettled when a link was lost, what was to be
    /// settled, delivered or published.
    pub messages: Vec<String>,
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.as_deref().unwrap_or("-");
        let (at, messages) = (self.at.as_secs_f64(), self.messages.join(", "));
        write!(f, "{at:.3} s {:?} at `{place}`: {messages}", self.fault)
    }
}
