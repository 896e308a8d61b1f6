//! [`Mailbox`]: what the keeper of a membership tells the source.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use downhaul_consumer::{BrokerError, HeldLane, Lane, Message, Name, Revoking};
use rdkafka::consumer::base_consumer::PartitionQueue;
use tokio::sync::Notify;

use crate::source::callbacks::Callbacks;
use crate::source::progress::Progress;

/// A partition's own queue of records.
pub(super) type Queue = PartitionQueue<Callbacks>;

/// A partition while it is this consumer's: what the source and the keeper both know of it.
#[derive(Debug)]
pub(crate) struct Tenure {
    pub(crate) lane: Lane,
    pub(crate) topic: Name,
    pub(crate) partition: i32,
    progress: Mutex<Progress<Kept>>,
    /// The offset of a record that was read and is not due, or -1.
    put_off: AtomicI64,
}

/// What is delivered again of a message that was released.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(super) message: Message,
    pub(super) timestamp: Option<SystemTime>,
}

impl Tenure {
    pub(super) fn new(lane: Lane, topic: Name, partition: i32) -> Self {
        let put_off = AtomicI64::new(-1);
        Self { lane, topic, partition, progress: Mutex::default(), put_off }
    }

    /// Notes that a record was read that waits until it is due, or that none does any more.
    pub(super) fn put_off(&self, offset: Option<i64>) {
        self.put_off.store(offset.unwrap_or(-1), Ordering::Relaxed);
    }

    /// The lowest offset that is unfinished, of what was read, and the one behind what is finished.
    pub(super) fn position(&self) -> (Option<i64>, Option<i64>) {
        let put_off = Some(self.put_off.load(Ordering::Relaxed)).filter(|offset| *offset >= 0);
        let progress = self.progress();
        (progress.head().or(put_off), progress.watermark())
    }

    /// As others see it.
    pub(super) fn held(&self) -> HeldLane {
        // They are counted from 0.
        HeldLane::new(self.topic.clone(), self.partition.unsigned_abs())
    }

    pub(crate) fn progress(&self) -> MutexGuard<'_, Progress<Kept>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) enum Notice {
    /// Partitions are this consumer's now, and their records come by these.
    Assigned(Vec<(Arc<Tenure>, Queue)>),
    /// Nothing more is to be read of these lanes.
    Revoking(Revoking),
    /// They were given up as asked for.
    Gone(Vec<Lane>),
    /// They went without.
    Lost(Vec<Lane>),
    /// No broker that matters answers.
    Away(BrokerError),
    /// One does again.
    Back,
    /// Nothing more will come.
    Died(BrokerError),
}

pub(super) struct Mailbox {
    notices: Mutex<Vec<Notice>>,
    /// Rung by notices, and by queues that were empty: the source's, whichever membership it is.
    pub(super) bell: Arc<Notify>,
}

impl Mailbox {
    pub(super) fn new(bell: &Arc<Notify>) -> Self {
        Self { notices: Mutex::default(), bell: Arc::clone(bell) }
    }

    pub(super) fn put(&self, notice: Notice) {
        self.lock().push(notice);
        self.bell.notify_one();
    }

    pub(super) fn take(&self) -> Vec<Notice> {
        std::mem::take(&mut *self.lock())
    }

    /// Takes back those of lanes that nobody has heard of yet. Returns which.
    pub(super) fn take_back(&self, lanes: &[Lane]) -> Vec<Lane> {
        let mut taken = Vec::new();
        for notice in self.lock().iter_mut() {
            let Notice::Assigned(new) = notice else { continue };
            new.retain(|(tenure, _)| {
                let is_taken = lanes.contains(&tenure.lane);
                taken.extend(is_taken.then_some(tenure.lane));
                !is_taken
            });
        }
        taken
    }

    /// Throws away what is there. Returns whether nobody has heard of lanes that are lost.
    pub(super) fn clear(&self) -> bool {
        let is_loss = |notice: &Notice| matches!(notice, Notice::Lost(lanes) if !lanes.is_empty());
        self.take().iter().any(is_loss)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Notice>> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
