//! [`Canceller`]: the only thing that can end a context.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::cause::Reason;
use crate::node::Node;

/// Ends one context and, with it, all that was derived from it.
///
/// Dropping it ends the context too, so that work cannot leak by forgetting;
/// [`disarm`](Self::disarm) lets go without ending. To let several parties end one context, share
/// it in an [`Arc`].
///
/// # Examples
///
/// ```
/// use downhaul_context::{CauseKind, Context};
///
/// let (ctx, canceller) = Context::root();
/// drop(canceller);
/// assert_eq!(ctx.cause().unwrap().kind(), CauseKind::Dropped);
/// ```
#[derive(Debug)]
pub struct Canceller {
    node: Arc<Node>,
    armed: bool,
}

impl Canceller {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node, armed: true }
    }

    /// Ends the context: its level becomes Done, here and in all descendants, before this returns.
    ///
    /// Does not wait for the work to stop. Returns whether this call was what ended the context.
    ///
    /// # Panics
    ///
    /// If the waker of somebody who waits panics, with the first such panic, once all who wait are
    /// woken: the context has ended all the same. A panic of a [callback](crate::Context::on_done)
    /// is caught instead. So it is with the other methods and with dropping the canceller, but that
    /// adds no panic to one that is under way.
    #[track_caller]
    pub fn cancel(&self) -> bool {
        self.node.end(Reason::plain(), Location::caller())
    }

    /// Ends the context and says why.
    ///
    /// # Examples
    ///
    /// ```
    /// use downhaul_context::{CauseKind, Context, Reason};
    ///
    /// let (ctx, canceller) = Context::root();
    /// canceller.cancel_with(Reason::client_gone());
    /// assert_eq!(ctx.cause().unwrap().kind(), CauseKind::ClientGone);
    /// ```
    #[track_caller]
    pub fn cancel_with(&self, reason: Reason) -> bool {
        self.node.end(reason, Location::caller())
    }

    /// As [`cancel_with`](Self::cancel_with), in the name of the code at `site`.
    pub(crate) fn cancel_for(&self, reason: Reason, site: &'static Location<'static>) -> bool {
        self.node.end(reason, site)
    }

    /// Asks the context to drain, and ends it when `grace` is over.
    ///
    /// Draining cancels nothing: it says "take nothing new, finish what is begun". A second call
    /// can only shorten the grace, and so can one below a context that drains: both leave the
    /// [cause](crate::Context::drain_cause) as it is. Returns whether this call began the draining.
    ///
    /// [Callbacks](crate::Context::on_done) and the [tokens](crate::Context::to_token) of a context
    /// without a deadline hear of the end of the grace by a timer of the runtime in which this is
    /// called. Outside of one they hear when the canceller is next used or dropped, though the
    /// context ends in time.
    #[track_caller]
    pub fn drain(&self, grace: Duration) -> bool {
        self.node.drain(grace, Reason::plain(), Location::caller())
    }

    /// Asks the context to drain and says why; otherwise as [`drain`](Self::drain).
    #[track_caller]
    pub fn drain_with(&self, grace: Duration, reason: Reason) -> bool {
        self.node.drain(grace, reason, Location::caller())
    }

    /// Lets go of the context without ending it. It still ends with its parent or by its deadline.
    pub fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Canceller {
    fn drop(&mut self) {
        // When no context, no child and no callback is left, there is nobody to tell. A handle
        // cannot appear in between: new ones are cloned from contexts or children, and both hold a
        // reference.
        if self.armed && (Arc::strong_count(&self.node) > 1 || self.node.may_call_back()) {
            self.node.end(Reason::dropped(), self.node.site());
        }
    }
}
