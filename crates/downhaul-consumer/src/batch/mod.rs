//! Batches: many messages in one call.

mod handler;
mod outcome;

use std::num::NonZeroUsize;
use std::time::Duration;

pub(crate) use crate::batch::handler::{BatchHandler, Call};
pub use crate::batch::outcome::IntoOutcomes;
pub(crate) use crate::batch::outcome::unshared;

/// How messages are gathered into batches: by number, by time, and by key.
///
/// # Examples
///
/// ```
/// use downhaul_consumer::{Batches, Consumer, Failure, Incoming, Json, Subscription};
/// use downhaul_context::Context;
/// use std::time::Duration;
///
/// async fn insert(_ctx: Context, orders: Vec<Incoming<Json<u32>>>) -> Result<(), Failure> {
///     println!("{} rows in one statement", orders.len());
///     Ok(())
/// }
///
/// let gathered = Batches::of(100).within(Duration::from_millis(200));
/// let consumer = Consumer::batches(Subscription::new("orders"), gathered, insert);
/// # let _ = consumer;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    pub(crate) most: NonZeroUsize,
    pub(crate) within: Duration,
    pub(crate) by_key: bool,
}

impl Batches {
    /// At most so many messages, gathered within a second. At least 1, at most 10,000.
    pub fn of(most: usize) -> Self {
        let most = NonZeroUsize::new(most.clamp(1, 10_000)).unwrap_or(NonZeroUsize::MIN);
        Self { most, within: Duration::from_secs(1), by_key: false }
    }

    /// A batch is handled so long after its first message at the latest, full or not.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// All messages of a batch have the same [key](crate::Message::with_key), or none. Not for
    /// [ordered](crate::Consumer::ordered) consumers: where the next of a key waits for the one
    /// before, a batch has one of it at most.
    #[must_use]
    pub fn by_key(mut self) -> Self {
        self.by_key = true;
        self
    }
}
