//! [`LaneReader`]: reads one partition, as far as there is room.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use downhaul_consumer::{BrokerError, Delivery, Event, Name, Position, Verdict};
use rdkafka::error::KafkaError;
use tokio::time::Instant;

use crate::error::cannot;
use crate::record::Record;
use crate::source::mailbox::{Kept, Queue, Tenure};
use crate::source::progress::Again;
use crate::ticket::Ticket;

pub(super) struct LaneReader {
    pub(super) tenure: Arc<Tenure>,
    /// The topic to name, which is none where it belongs to the group.
    topic: Option<Name>,
    queue: Queue,
    /// How long its messages wait at most, where that is what its topic is for.
    step: Option<Duration>,
    /// Read, and not due yet. Nothing behind it is, as a rule.
    waiting: Option<Waiting>,
    /// Whether nothing more is to be read.
    is_leaving: bool,
    /// Since when the lowest unfinished message keeps all others from being read.
    blocked: Option<Blocked>,
    /// Whether nothing is to be read before the next commit.
    waits_for_commit: bool,
}

struct Waiting {
    record: Record,
    since: Instant,
}

struct Blocked {
    offset: i64,
    since: Instant,
    is_told: bool,
}

/// How long a message may keep a partition from being read before that is told.
const TELL: Duration = Duration::from_secs(10);

/// How far clocks may be apart before that is told.
const SKEW: Duration = Duration::from_secs(5);

impl LaneReader {
    pub(super) fn new(
        tenure: Arc<Tenure>,
        queue: Queue,
        names_topic: bool,
        step: Option<Duration>,
    ) -> Self {
        Self {
            topic: names_topic.then(|| tenure.topic.clone()),
            tenure,
            queue,
            step,
            waiting: None,
            is_leaving: false,
            blocked: None,
            waits_for_commit: false,
        }
    }

    pub(super) fn leave(&mut self) {
        self.is_leaving = true;
    }

    /// Appends up to so many deliveries; first what was released. Returns how many there were.
    pub(super) fn read(
        &mut self,
        room: usize,
        longest_gap: usize,
        events: &mut Vec<Event>,
    ) -> Result<usize, BrokerError> {
        self.waits_for_commit = false;
        if self.is_leaving {
            return Ok(0);
        }
        let tenure = Arc::clone(&self.tenure);
        let mut progress = tenure.progress();
        let mut count = 0;
        while count < room {
            if let Some(again) = progress.deliver_again() {
                let Again { place, offset, delivery, kept } = again;
                let again = self.delivery(place, delivery, offset, kept.clone());
                events.push(Event::Delivery(again.redelivered(u32::from(delivery))));
            } else if progress.gap() >= longest_gap {
                let head = progress.head();
                drop(progress);
                self.is_blocked_by(head);
                break;
            } else if progress.gap() + progress.ready() >= longest_gap {
                (self.waits_for_commit, self.blocked) = (true, None);
                break;
            } else {
                self.blocked = None;
                let Some(Record { offset, message, timestamp, .. }) = self.next()? else { break };
                let kept = Kept { message, timestamp };
                let place = progress.deliver(offset, kept.clone());
                events.push(Event::Delivery(self.delivery(place, 0, offset, kept)));
            }
            count += 1;
        }
        Ok(count)
    }

    fn delivery(&self, place: u64, delivery: u8, offset: i64, kept: Kept) -> Delivery {
        let Tenure { lane, partition, .. } = *self.tenure;
        let token = Ticket { lane, place, delivery }.token();
        let delivery = Delivery::new(token, kept.message).in_lane(lane);
        let delivery = delivery.with_topic(self.topic.clone()).published_at(kept.timestamp);
        match (partition.try_into(), offset.try_into()) {
            (Ok(partition), Ok(offset)) => delivery.at(Position { partition, offset }),
            _ => delivery,
        }
    }

    /// The next record, if there is one and it is due.
    fn next(&mut self) -> Result<Option<Record>, BrokerError> {
        if self.waiting.is_none() {
            match self.poll()? {
                Some(record) if self.is_put_off(&record) => self.wait_for(record),
                record => return Ok(record),
            }
        }
        let is_due = |waiting: &mut Waiting| waiting.left(self.step).is_zero();
        let Some(due) = self.waiting.take_if(is_due) else { return Ok(None) };
        self.tenure.put_off(None);
        Ok(Some(due.record))
    }

    /// Others may mean something else by the name of that header, and their message would hold up
    /// all behind it.
    fn is_put_off(&self, record: &Record) -> bool {
        record.due.is_some() && (record.is_ours || self.step.is_some())
    }

    fn wait_for(&mut self, record: Record) {
        let (offset, waiting) = (record.offset, Waiting { record, since: Instant::now() });
        let wait = waiting.left(None);
        if let Some(step) = self.step.filter(|step| wait > step.saturating_add(SKEW)) {
            let Tenure { topic, partition, .. } = &*self.tenure;
            tracing::warn!(
                topic = topic.as_str(),
                partition,
                offset,
                ?wait,
                ?step,
                "a message says that it is due later than its topic is for, and does not wait so \
                 long: is a clock wrong?"
            );
        }
        self.tenure.put_off(Some(offset));
        self.waiting = Some(waiting);
    }

    fn poll(&self) -> Result<Option<Record>, BrokerError> {
        match self.queue.poll(Duration::ZERO) {
            Some(Ok(record)) => Ok(Some(Record::read(&record))),
            Some(Err(KafkaError::PartitionEOF(_))) | None => Ok(None),
            Some(Err(error)) => {
                let Tenure { topic, partition, .. } = &*self.tenure;
                Err(cannot(&format!("read partition {partition} of `{topic}`"), &error))
            }
        }
    }

    /// Whether it was not read on because what it leads to waits for a transaction.
    pub(super) fn waits_for_commit(&self) -> bool {
        self.waits_for_commit
    }

    /// How long until a record that waits may be delivered.
    pub(super) fn due_in(&self) -> Option<Duration> {
        let waiting = self.waiting.as_ref().filter(|_| !self.is_leaving)?;
        Some(waiting.left(self.step))
    }

    /// How long until a message has been unfinished for long enough to tell.
    pub(super) fn tell_in(&self) -> Option<Duration> {
        let blocked = self.blocked.as_ref().filter(|blocked| !blocked.is_told)?;
        Some(TELL.saturating_sub(blocked.since.elapsed()))
    }

    /// Tells once when a message is unfinished for long, and keeps the partition from being read.
    pub(super) fn tell(&mut self) {
        if self.tell_in() != Some(Duration::ZERO) {
            return;
        }
        let Some(blocked) = &mut self.blocked else { return };
        blocked.is_told = true;
        let Tenure { topic, partition, .. } = &*self.tenure;
        tracing::warn!(
            topic = topic.as_str(),
            partition,
            offset = blocked.offset,
            age = ?blocked.since.elapsed(),
            "a message is unfinished for long, and the partition is not read on meanwhile"
        );
    }

    fn is_blocked_by(&mut self, head: Option<i64>) {
        let Some(offset) = head else { return };
        if self.blocked.as_ref().is_none_or(|blocked| blocked.offset != offset) {
            self.blocked = Some(Blocked { offset, since: Instant::now(), is_told: false });
        }
    }

    /// Takes a verdict. Returns whether there was something to decide.
    pub(super) fn settle(&mut self, ticket: Ticket, verdict: Verdict) -> bool {
        let mut progress = self.tenure.progress();
        let is_taken = progress.settle(ticket.place, ticket.delivery, verdict);
        let head = progress.head();
        // Where nothing is read any more, nobody else would see that.
        self.blocked.take_if(|blocked| head != Some(blocked.offset));
        is_taken
    }
}

impl Waiting {
    /// How much longer, and no longer than `step` in all: it was sent before it was read, so that
    /// is never too early, whatever it says and whatever the clock says.
    fn left(&self, step: Option<Duration>) -> Duration {
        let due = self.record.due.and_then(|due| due.duration_since(SystemTime::now()).ok());
        let most = step.map_or(Duration::MAX, |step| step.saturating_sub(self.since.elapsed()));
        due.unwrap_or_default().min(most)
    }
}
