//! [`Lane`]: a part of a source that can come and go by itself, and [`Revoking`]: one that is about
//! to go.

use tokio::sync::oneshot;

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
/// The engine starts nothing more of them, gives back what it has not begun, settles what it has,
/// and then drops this, by which the source hears that they are free.
#[derive(Debug)]
pub struct Revoking {
    lanes: Vec<Lane>,
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
        (Self { lanes, _free: free }, freed)
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
