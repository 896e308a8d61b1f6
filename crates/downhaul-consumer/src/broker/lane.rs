//! [`Lane`]: a part of a source that can come and go by itself, and [`Revoking`]: one that is about
//! to go.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::later::later;

/// A part of a source whose deliveries keep their order and that can be taken away by itself: a
/// partition of a log. A queue has one lane, [`Lane::ONLY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(u32);

impl Lane {
    /// The lane of sources that have no more than one.
    pub const ONLY: Self = Self(0);

    /// Makes a lane; the number is the source's to choose, and unique in it.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// Lanes that are about to go to another consumer.
///
/// The engine finishes what it has begun of them, and what lies before anything that is finished,
/// lest that comes again; all else it gives back. Then it drops this, by which the source hears
/// that they are free.
#[derive(Debug)]
pub struct Revoking {
    lanes: Vec<Lane>,
    /// Until when to wait for what is not due yet.
    patience: Instant,
    /// Dropped with this.
    _free: oneshot::Sender<()>,
}

impl Revoking {
    /// Makes the event and what its source waits with: it completes when the lanes are free.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul_consumer::{Lane, Revoking};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let (revoking, free) = Revoking::new(vec![Lane::new(3)]);
    /// assert_eq!(revoking.lanes(), [Lane::new(3)]);
    /// drop(revoking);
    /// free.await;
    /// # }
    /// ```
    pub fn new(lanes: Vec<Lane>) -> (Self, impl Future<Output = ()> + Send + Sync + Unpin) {
        let (free, freed) = oneshot::channel();
        let freed = Freed(freed);
        (Self { lanes, patience: Instant::now(), _free: free }, freed)
    }

    /// Says how long the source waits for them, from now on. The engine waits half as long for what
    /// is tried again, if it lies before what is finished; not at all, unless it is told.
    #[must_use]
    pub fn with_budget(mut self, budget: Duration) -> Self {
        self.patience = later(Instant::now(), budget / 2);
        self
    }

    pub(crate) fn patience(&self) -> Instant {
        self.patience
    }

    /// The lanes.
    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }
}

/// Completes when its [`Revoking`] is dropped.
struct Freed(oneshot::Receiver<()>);

impl Future for Freed {
    type Output = ();

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<()> {
        std::pin::Pin::new(&mut self.0).poll(cx).map(|_| ())
    }
}
