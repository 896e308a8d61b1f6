//! [`HeldLanes`]: what can be seen from elsewhere of the lanes that a source has.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::broker::lane::Lane;
use crate::message::Name;

/// A lane that is a source's now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct HeldLane {
    /// The topic that it is a part of.
    pub topic: Name,
    /// Which part, from 0.
    pub partition: u32,
    /// How many of its messages are not finished, as far as the broker has told: what is in hand
    /// counts too. `None` as long as that is not known.
    pub lag: Option<u64>,
}

impl HeldLane {
    /// Makes one whose lag is not known.
    pub fn new(topic: Name, partition: u32) -> Self {
        Self { topic, partition, lag: None }
    }

    /// Sets the lag, in messages.
    #[must_use]
    pub fn with_lag(mut self, lag: Option<u64>) -> Self {
        self.lag = lag;
        self
    }
}

/// The lanes of a source: written by the source when it hears something, read by whoever looks. A
/// clone is another handle to the same.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::{HeldLane, HeldLanes, Lane, Name};
///
/// let lanes = HeldLanes::default();
/// lanes.put(Lane::new(7), HeldLane::new(Name::from("orders"), 0).with_lag(Some(12)));
/// assert_eq!(lanes.all()[0].lag, Some(12));
/// lanes.remove(Lane::new(7));
/// assert!(lanes.all().is_empty());
/// ```
#[derive(Clone, Debug, Default)]
pub struct HeldLanes(Arc<Mutex<BTreeMap<Lane, HeldLane>>>);

impl HeldLanes {
    /// Notes that a lane is the source's, or what has become of it.
    pub fn put(&self, lane: Lane, held: HeldLane) {
        self.lock().insert(lane, held);
    }

    /// Notes that it is not any more.
    pub fn remove(&self, lane: Lane) {
        self.lock().remove(&lane);
    }

    /// All of them, by topic and partition.
    pub fn all(&self) -> Vec<HeldLane> {
        let mut all: Vec<_> = self.lock().values().cloned().collect();
        all.sort_unstable();
        all
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Lane, HeldLane>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
