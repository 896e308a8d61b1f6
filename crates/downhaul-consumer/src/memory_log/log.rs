//! [`Log`]: the partitions of one topic, or of what goes to one group alone.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::time::{Duration, SystemTime};

use crate::message::{Message, Name};
use crate::publish::Destination;

/// Messages by partition and offset. They stay.
#[derive(Debug)]
pub(super) struct Log {
    destination: Destination,
    partitions: Vec<Vec<Record>>,
    /// Which partition is next for a message without a key.
    turn: usize,
    /// The groups that read it.
    pub(super) readers: BTreeSet<Name>,
}

/// A message, and when it was appended.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) message: Message,
    pub(super) timestamp: SystemTime,
}

impl Log {
    pub(super) fn new(destination: Destination, partitions: usize) -> Self {
        let partitions = vec![Vec::new(); partitions];
        Self { destination, partitions, turn: 0, readers: BTreeSet::new() }
    }

    /// Appends a message to the partition of its key, or to each in turn.
    pub(super) fn append(&mut self, message: Message) {
        let partition = match message.key_bytes() {
            Some(key) => partition_of(key, self.partitions.len()),
            None => {
                self.turn += 1;
                (self.turn - 1) % self.partitions.len()
            }
        };
        self.partitions[partition].push(Record { message, timestamp: now() });
    }

    pub(super) fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// The offset that the next message of a partition will have; 0 for one that does not exist.
    pub(super) fn end(&self, partition: usize) -> u64 {
        self.partitions.get(partition).map_or(0, |records| records.len() as u64)
    }

    pub(super) fn get(&self, partition: usize, offset: u64) -> Option<&Record> {
        self.partitions.get(partition)?.get(usize::try_from(offset).ok()?)
    }

    /// The topic, if it is one.
    pub(super) fn topic(&self) -> Option<&Name> {
        match &self.destination {
            Destination::Topic(name) => Some(name),
            Destination::Queue(_) => None,
        }
    }
}

/// In whole milliseconds, as logs have it.
fn now() -> SystemTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::new(since.as_secs(), since.subsec_millis() * 1_000_000)
}

/// Which of so many partitions a key belongs to: the same one always.
pub(super) fn partition_of(key: &[u8], partitions: usize) -> usize {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
    usize::try_from(hash % partitions as u64).unwrap_or_default()
}
