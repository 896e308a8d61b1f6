//! Transactions: what a delivery leads to becomes visible together with its offset, or neither does
//! (KIP-98, KIP-447).
//!
//! A handler's messages, its parked retry and its dead letter are not sent while it runs. They are
//! kept with the mark of their delivery, and a transaction that is short takes what has become due:
//!
//! 1. What is published for a delivery is kept with it, if it can still be settled; what is not for
//!    a delivery is refused. It counts once the delivery is acknowledged by its own source. If it
//!    is released, retried, or never settled, it was never sent.
//! 2. A transaction takes of each partition, under one lock, the offset to commit and what all
//!    deliveries before that offset lead to: no more and no less. Nothing is sent otherwise, and no
//!    offset is committed otherwise.
//! 3. There is one transaction at a time. When anything about it fails, the source dies, its
//!    producer is never used again, and what the transaction had taken is forgotten.
//! 4. A source begins with a new producer of the same id, which is ready once the broker has ended
//!    whatever the one before had begun, for good or ill, and lets it begin nothing more. Only then
//!    does the source join its group and learn from where to read.
//! 5. Offsets are committed in the name of the membership, so that the broker refuses a transaction
//!    with partitions that have gone to others. Partitions that are to go do so when their last
//!    transaction has been answered.
//! 6. Only what is committed is read, of messages and of offsets: the new owner of a partition
//!    waits while a transaction of the old one is undecided.
//! 7. A broker has one source at a time, or each would end the transactions of the other.
//!
//! So a slow handler holds no transaction open, and there is no gap to wait for: what is finished
//! behind an unfinished message is kept until that one is finished, too. What is kept is bounded:
//! a partition is not read on while `longest_gap` messages of it are unfinished or wait for a
//! transaction.

mod output;
mod producer;
mod refusals;
mod reports;
mod round;
mod sink;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use downhaul_consumer::{BrokerError, Lane, Outgoing, Token};

use crate::error::{misconfigured, unsendable};
use crate::source::Tenure;
use crate::ticket::{LaneNumbers, Ticket};
pub(crate) use crate::transactions::output::Output;
pub(crate) use crate::transactions::producer::TransactionalProducer;
use crate::transactions::refusals::{Origin, Refusals};
pub(crate) use crate::transactions::round::Part;
pub(crate) use crate::transactions::sink::OutcomeSink;

/// What the source and the sinks of a transactional broker share.
#[derive(Debug)]
pub(crate) struct Transactions {
    pub(crate) id: String,
    /// Lanes have other numbers in each source, so that a token says by which it was made.
    pub(crate) lanes: Arc<LaneNumbers>,
    tenures: Mutex<BTreeMap<u32, Weak<Tenure>>>,
    refusals: Arc<Refusals>,
    has_source: Arc<AtomicBool>,
}

impl Transactions {
    pub(crate) fn new(id: String) -> Self {
        Self {
            id,
            lanes: Arc::default(),
            tenures: Mutex::default(),
            refusals: Arc::default(),
            has_source: Arc::default(),
        }
    }

    /// Lets one source be opened.
    ///
    /// # Errors
    ///
    /// There is one.
    pub(crate) fn admit(&self) -> Result<Turn, BrokerError> {
        if self.has_source.swap(true, Ordering::AcqRel) {
            return Err(misconfigured(format!(
                "the transactional id `{}` has a consumer already: \
                 a transactional broker is for one consumer, make another broker for this one",
                self.id
            )));
        }
        self.refusals.begin();
        Ok(Turn(Arc::clone(&self.has_source)))
    }

    /// Makes partitions known to sinks.
    pub(crate) fn assigned(&self, new: &Arc<Tenure>) {
        let mut tenures = self.tenures();
        tenures.retain(|_, tenure| tenure.strong_count() > 0);
        tenures.insert(new.lane.number(), Arc::downgrade(new));
    }

    /// Keeps what a delivery leads to until it is settled. Returns whether it did: what is settled
    /// or lost cannot count any more.
    ///
    /// # Errors
    ///
    /// The message cannot be sent, or the broker has refused it before.
    fn keep(
        &self,
        delivery: Token,
        topic: String,
        outgoing: &Outgoing,
    ) -> Result<bool, BrokerError> {
        let Ticket { place, delivery, lane } = Ticket::of(delivery);
        let Some(tenure) = self.tenure(lane) else { return Ok(false) };
        let mut progress = tenure.progress();
        let Some(offset) = progress.offset(place, delivery) else { return Ok(false) };
        let origin = Origin::new(&tenure, offset);
        if let Some(words) = self.refusals.find(&origin, &topic, output::size(&outgoing.message)) {
            return Err(unsendable(words));
        }
        Ok(progress.keep(place, delivery, Output::new(origin, topic, outgoing)?))
    }

    /// Forgets what a delivery would have led to.
    pub(crate) fn retract(&self, delivery: Token) {
        let ticket = Ticket::of(delivery);
        if let Some(tenure) = self.tenure(ticket.lane) {
            tenure.progress().retract(ticket.place, ticket.delivery);
        }
    }

    fn tenure(&self, lane: Lane) -> Option<Arc<Tenure>> {
        self.tenures().get(&lane.number())?.upgrade()
    }

    fn tenures(&self) -> MutexGuard<'_, BTreeMap<u32, Weak<Tenure>>> {
        self.tenures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Dropped with its source, which lets another be opened.
#[derive(Debug)]
pub(crate) struct Turn(Arc<AtomicBool>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
