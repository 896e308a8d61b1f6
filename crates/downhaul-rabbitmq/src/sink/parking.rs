//! [`Parking`]: queues in which messages wait for their time.
//!
//! A parked message expires in its queue and is then dead-lettered into the queue that it is for,
//! and into no other. RabbitMQ lets messages expire only at the head of a queue, so each delay has
//! a queue of its own, and there are few delays.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use downhaul_consumer::{BrokerError, BrokerErrorKind};
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use tokio::time::Instant;

use crate::declare::declare_queue;
use crate::error::{cannot, code, short, unsendable};
use crate::link::Line;
use crate::options::QueueType;
use crate::topology::{Overflow, Queue};

/// The delays that there are, in milliseconds. What is asked for is rounded up.
const STEPS: [u32; 15] = [
    100, 250, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000, 900_000,
    3_600_000, 21_600_000, 86_400_000,
];
/// A classic queue that nobody declares goes away after its delay and this. It must outlive what
/// was put into it: publishing does not count as use.
///
/// A quorum queue stays. RabbitMQ does not count it as use when one is declared again, so it would
/// go away in the middle of its work, with what waits in it.
const IDLE: Duration = Duration::from_secs(3_600);
/// How often it is declared again while it is used: so seldom as to cost nothing, and so often that
/// a message, published just before the next time, still has nearly all of [`IDLE`] to arrive.
const REFRESH: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Parking {
    queue_type: QueueType,
    /// When each was last declared.
    declared: Mutex<HashMap<String, Instant>>,
    /// Held while one is declared, so that all who wait for it share that.
    declaring: tokio::sync::Mutex<()>,
}

impl Parking {
    pub(super) fn new(queue_type: QueueType) -> Self {
        Self { queue_type, declared: Mutex::default(), declaring: tokio::sync::Mutex::default() }
    }

    /// The name of a queue that leads to `queue` after at least `delay`. `None` if there is no
    /// `queue`.
    pub(super) async fn place(
        &self,
        line: &Line,
        queue: &str,
        delay: Duration,
    ) -> Result<Option<String>, BrokerError> {
        let Some(step) = step(delay) else {
            return Err(unsendable("a delay of more than 24 hours"));
        };
        let place = format!("{queue}.retry.{step}");
        if self.is_declared(&place) {
            return Ok(Some(place));
        }
        let _turn = self.declaring.lock().await;
        if !self.is_declared(&place) {
            let now = Instant::now();
            if !self.declare(line, queue, &place, step).await? {
                return Ok(None);
            }
            self.remember(&place, now);
        }
        Ok(Some(place))
    }

    /// Forgets those that are to be declared again: queues come and go, and there would be more of
    /// them all the time.
    fn remember(&self, place: &str, at: Instant) {
        let mut declared = self.declared();
        declared.retain(|_, at| is_fresh(*at));
        declared.insert(place.to_owned(), at);
    }

    /// A message for this queue came back, so it is not there. It may be no place of ours.
    pub(super) fn forget(&self, queue: &str) {
        self.declared().remove(queue);
    }

    fn is_declared(&self, place: &str) -> bool {
        self.declared().get(place).is_some_and(|at| is_fresh(*at))
    }

    fn declared(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On a channel of its own, which an error closes.
    async fn declare(
        &self,
        line: &Line,
        queue: &str,
        place: &str,
        step: u32,
    ) -> Result<bool, BrokerError> {
        let channel = line.sibling().await?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let name = short("the queue", queue, BrokerErrorKind::Message)?;
        // Else what is parked for it would vanish when its time comes.
        match channel.queue_declare(name, options, FieldTable::default()).await {
            Ok(_) => {}
            Err(error) if code(&error) == Some(404) => return Ok(false),
            Err(error) => return Err(cannot(&format!("look for queue `{queue}`"), &error)),
        }
        declare_queue(&channel, &self.queue(place, queue, step)).await?;
        tracing::debug!(queue = place, "a place to wait");
        Ok(true)
    }

    fn queue(&self, place: &str, queue: &str, step: u32) -> Queue {
        let time = Duration::from_millis(step.into());
        let place =
            Queue::new(place, self.queue_type).message_ttl(time).dead_letter_to_queue(queue);
        match self.queue_type {
            QueueType::Classic => place.expires(time.saturating_add(IDLE)),
            // The way back is confirmed as well, which takes an overflow that refuses.
            QueueType::Quorum => {
                place.dead_letter_at_least_once().overflow(Overflow::RejectPublish)
            }
        }
    }
}

/// Whether what was declared then need not be declared again.
fn is_fresh(at: Instant) -> bool {
    at.elapsed() <= REFRESH
}

fn step(delay: Duration) -> Option<u32> {
    STEPS.into_iter().find(|step| Duration::from_millis((*step).into()) >= delay)
}

#[cfg(test)]
mod tests {
    use crate::topology::Argument;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn places_that_are_to_be_declared_again_are_not_remembered_for_ever() {
        let parking = Parking::new(QueueType::Quorum);
        for queue in ["one", "another"] {
            parking.remember(queue, Instant::now());
        }
        tokio::time::advance(REFRESH + Duration::from_millis(1)).await;
        parking.remember("a third", Instant::now());
        assert!(parking.is_declared("a third"));
        assert_eq!(parking.declared().len(), 1);
    }

    #[test]
    fn a_delay_is_rounded_up_and_never_down() {
        assert_eq!(step(Duration::from_nanos(1)), Some(100));
        assert_eq!(step(Duration::from_millis(100)), Some(100));
        assert_eq!(step(Duration::from_millis(101)), Some(250));
        assert_eq!(step(Duration::from_secs(86_400)), Some(86_400_000));
        assert_eq!(step(Duration::from_secs(86_401)), None);
    }

    #[test]
    fn only_a_queue_whose_time_begins_anew_when_it_is_declared_has_a_time() {
        let expires = |queue_type| {
            let place = Parking::new(queue_type).queue("orders.retry.1000", "orders", 1_000);
            place.arguments.get("x-expires").cloned()
        };
        let hour_and_delay = Argument::from(3_601_000);
        assert_eq!(expires(QueueType::Classic), Some(hour_and_delay));
        assert_eq!(expires(QueueType::Quorum), None);
    }
}
