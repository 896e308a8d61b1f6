//! [`Inbox`]: what a sink is to do, from all who use it to its task.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// How many items are taken at a time.
const TURN: usize = 64;

/// Where items are put in. The inbox ends when it is dropped.
pub(super) struct Slot<T>(Arc<Shared<T>>);

/// Where they are taken out, in their order. Nothing can be put in once it is dropped.
///
/// A channel would do. This one uses its memory again: a channel's blocks are so large that an
/// allocator tidies up for each.
pub(super) struct Inbox<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Of who takes them out.
    waker: AtomicWaker,
}

struct State<T> {
    items: VecDeque<T>,
    is_left: bool,
    is_closed: bool,
}

pub(super) fn inbox<T>() -> (Slot<T>, Inbox<T>) {
    let state = State { items: VecDeque::new(), is_left: false, is_closed: false };
    let shared = Arc::new(Shared { state: Mutex::new(state), waker: AtomicWaker::new() });
    (Slot(Arc::clone(&shared)), Inbox(shared))
}

impl<T> Slot<T> {
    /// Returns the item if nobody takes it any more.
    pub(super) fn put(&self, item: T) -> Result<(), T> {
        let mut state = self.0.state();
        if state.is_closed {
            return Err(item);
        }
        state.items.push_back(item);
        drop(state);
        self.0.waker.wake();
        Ok(())
    }
}

impl<T> Inbox<T> {
    /// Adds the next items, a [`TURN`] at most. Returns whether there may be more.
    pub(super) fn poll_take(&self, taken: &mut Vec<T>, cx: &mut Context<'_>) -> Poll<bool> {
        self.0.waker.register(cx.waker());
        let mut state = self.0.state();
        if state.items.is_empty() {
            return if state.is_left { Poll::Ready(false) } else { Poll::Pending };
        }
        let count = state.items.len().min(TURN);
        taken.extend(state.items.drain(..count));
        Poll::Ready(true)
    }

    /// Takes nothing more if there is nothing. Returns whether that is so.
    pub(super) fn close_if_empty(&self) -> bool {
        let mut state = self.0.state();
        state.is_closed |= state.items.is_empty();
        state.is_closed
    }

    /// Takes nothing more, and returns what was not taken.
    pub(super) fn close(&self) -> VecDeque<T> {
        let mut state = self.0.state();
        state.is_closed = true;
        std::mem::take(&mut state.items)
    }
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        self.0.state().is_left = true;
        self.0.waker.wake();
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        drop(self.close());
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::time::{Instant, timeout};

    use super::*;

    async fn take(inbox: &Inbox<usize>) -> (Vec<usize>, bool) {
        let mut taken = Vec::new();
        let more = poll_fn(|cx| inbox.poll_take(&mut taken, cx)).await;
        (taken, more)
    }

    #[tokio::test]
    async fn items_come_in_their_order_a_turn_at_a_time_and_then_the_end() {
        let (slot, inbox) = inbox();
        let putting = tokio::spawn(async move { (0..TURN + 1).all(|item| slot.put(item).is_ok()) });
        assert!(putting.await.unwrap());
        assert_eq!(take(&inbox).await, (Vec::from_iter(0..TURN), true));
        assert_eq!(take(&inbox).await, (vec![TURN], true));
        assert_eq!(take(&inbox).await, (vec![], false), "its slot is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_woken_by_an_item() {
        let ((slot, inbox), begun) = (inbox(), Instant::now());
        let taking = timeout(Duration::from_secs(1), take(&inbox));
        let (taken, put) = tokio::join!(taking, async { slot.put(7) });
        assert_eq!((taken, put), (Ok((vec![7], true)), Ok(())));
        assert_eq!(begun.elapsed(), Duration::ZERO, "not by the end of its patience");
    }

    #[test]
    fn nothing_is_put_into_an_inbox_that_nobody_empties() {
        let (slot, inbox) = inbox();
        slot.put(1).unwrap();
        assert!(!inbox.close_if_empty());
        assert_eq!(inbox.close(), [1]);
        assert_eq!(slot.put(2), Err(2));
        let (slot, inbox) = super::inbox();
        assert!(inbox.close_if_empty());
        assert_eq!(slot.put(3), Err(3));
        let item = Arc::new(());
        let (slot, inbox) = super::inbox();
        slot.put(Arc::clone(&item)).unwrap();
        drop(inbox);
        assert_eq!(Arc::strong_count(&item), 1, "with its runtime, the task drops what it had");
        slot.put(item).unwrap_err();
    }
}
