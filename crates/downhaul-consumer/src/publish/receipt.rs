//! [`Receipt`]: a future for the broker's answer, and [`ReceiptSender`], which gives it.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::error::{BrokerError, BrokerErrorKind};
use crate::publish::PublishOutcome;
use crate::publish::window::Place;

/// A future for the broker's answer to one message.
///
/// Dropping it does not take the message back.
#[must_use = "a message is only safe once its receipt says so"]
pub struct Receipt {
    state: State,
    /// That no queue takes the message is no failure.
    is_optional: bool,
}

enum State {
    Known(Option<PublishOutcome>),
    Pending(Arc<Cell>),
}

/// Resolves a [`Receipt`]; dropping it unresolved makes the outcome unknown.
pub struct ReceiptSender(Arc<Cell>);

#[derive(Default)]
struct Cell(Mutex<Content>);

#[derive(Default)]
struct Content {
    outcome: Option<PublishOutcome>,
    is_resolved: bool,
    waker: Option<Waker>,
    /// Kept until the answer is there, whether anybody waits for it or not.
    place: Option<Place>,
}

impl Cell {
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the answer, unless there is one already.
    fn resolve(&self, outcome: impl FnOnce() -> PublishOutcome) {
        let mut content = self.lock();
        if content.is_resolved {
            return;
        }
        content.is_resolved = true;
        content.outcome = Some(outcome());
        let (waker, place) = (content.waker.take(), content.place.take());
        drop(content);
        drop(place);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Receipt {
    /// A receipt that is resolved later.
    pub fn pending() -> (ReceiptSender, Self) {
        let cell = Arc::new(Cell::default());
        (ReceiptSender(Arc::clone(&cell)), Self::of(State::Pending(cell)))
    }

    /// A receipt whose outcome is known already.
    pub fn resolved(outcome: PublishOutcome) -> Self {
        Self::of(State::Known(Some(outcome)))
    }

    fn of(state: State) -> Self {
        Self { state, is_optional: false }
    }

    /// Takes it for confirmed that no queue has taken the message, if `is_optional`.
    pub(crate) fn optional(self, is_optional: bool) -> Self {
        Self { is_optional, ..self }
    }

    fn judge(&self, outcome: PublishOutcome) -> PublishOutcome {
        match outcome {
            PublishOutcome::Returned(_) if self.is_optional => PublishOutcome::Confirmed,
            outcome => outcome,
        }
    }

    /// The answer, if it was known from the beginning.
    pub(crate) fn known(mut self) -> Result<PublishOutcome, Self> {
        match &mut self.state {
            State::Known(outcome) => outcome.take().map(|it| self.judge(it)).ok_or(self),
            State::Pending(_) => Err(self),
        }
    }

    /// Takes the answer, if it is there.
    pub(crate) fn take_known(&mut self) -> Option<PublishOutcome> {
        let outcome = match &mut self.state {
            State::Known(outcome) => outcome.take(),
            State::Pending(cell) => cell.lock().outcome.take(),
        };
        outcome.map(|outcome| self.judge(outcome))
    }

    /// Gives the message its place in a window until it is answered.
    pub(crate) fn occupy(&self, place: Place) {
        if let State::Pending(cell) = &self.state {
            let mut content = cell.lock();
            if !content.is_resolved {
                content.place = Some(place);
            }
        }
    }
}

impl Future for Receipt {
    type Output = PublishOutcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<PublishOutcome> {
        let outcome = match &mut self.state {
            State::Known(outcome) => outcome.take(),
            State::Pending(cell) => {
                let mut content = cell.lock();
                if !content.is_resolved {
                    if content.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
                        content.waker = Some(cx.waker().clone());
                    }
                    return Poll::Pending;
                }
                content.outcome.take()
            }
        };
        Poll::Ready(self.judge(outcome.unwrap_or_else(unanswered)))
    }
}

impl ReceiptSender {
    /// Whether nobody waits for the answer any more: the [`Receipt`] was dropped.
    pub fn is_closed(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// Gives the answer. Nobody has to wait for it.
    pub fn resolve(self, outcome: PublishOutcome) {
        self.0.resolve(|| outcome);
    }
}

impl Drop for ReceiptSender {
    fn drop(&mut self) {
        self.0.resolve(unanswered);
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_resolved = match &self.state {
            State::Known(_) => true,
            State::Pending(cell) => cell.lock().is_resolved,
        };
        f.debug_struct("Receipt").field("is_resolved", &is_resolved).finish()
    }
}

impl fmt::Debug for ReceiptSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReceiptSender")
    }
}

fn unanswered() -> PublishOutcome {
    let words = "the sink closed before the answer";
    PublishOutcome::Unknown(Arc::new(BrokerError::new(BrokerErrorKind::Closed, words)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_knows_whether_anybody_waits() {
        let (sender, receipt) = Receipt::pending();
        assert!(!sender.is_closed());
        drop(receipt);
        assert!(sender.is_closed());
    }
}
