//! [`Held`]: tells of messages that are held for long, before RabbitMQ loses its patience.

use std::time::Duration;

use lapin::types::ShortString;
use tokio::time::Instant;

use crate::unsettled::Unsettled;

/// How often it is looked in the course of the consumer timeout.
const LOOKS: u32 = 16;

/// Tells once of each message that is unsettled for half of the consumer timeout: when all of it is
/// over, RabbitMQ closes the channel, and the handler has done its work in vain.
#[derive(Debug)]
pub(crate) struct Held {
    consumer_timeout: Duration,
    /// The highest tag that was told of, and with it all lower ones.
    told: u64,
    /// `None` where that is beyond all time.
    look_at: Option<Instant>,
}

impl Held {
    pub(crate) fn new(consumer_timeout: Duration) -> Self {
        let mut held = Self { consumer_timeout, told: 0, look_at: None };
        held.look_again(Instant::now());
        held
    }

    /// Looks if it is time to.
    pub(crate) fn look(&mut self, queue: &ShortString, unsettled: &Unsettled, now: Instant) {
        if self.look_at.is_none_or(|at| now < at) {
            return;
        }
        self.look_again(now);
        let age = |since: Instant| now.saturating_duration_since(since);
        let is_late = |since| age(since) >= self.consumer_timeout / 2;
        let mut late = unsettled.above(self.told).take_while(|(_, since)| is_late(*since));
        let Some((first, since)) = late.next() else { return };
        let (last, messages) = late.fold((first, 1_u32), |(_, count), (tag, _)| (tag, count + 1));
        self.told = last;
        tracing::warn!(
            queue = queue.as_str(),
            messages,
            age = ?age(since),
            consumer_timeout = ?self.consumer_timeout,
            "messages are held for long: when the consumer timeout is over, RabbitMQ closes their \
             channel and delivers them again"
        );
    }

    fn look_again(&mut self, now: Instant) {
        self.look_at = now.checked_add(self.consumer_timeout / LOOKS);
    }
}
