//! [`Bell`]: which publishes go on, from lapin's thread to the task of a sink.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;

/// Collects the numbers of those who rang, and wakes the task for the first of them.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<Vec<usize>>,
    /// The task's.
    waker: AtomicWaker,
}

/// Rings with one number.
struct Ringer {
    number: usize,
    bell: Arc<Bell>,
}

impl Bell {
    /// A waker that rings with this number. Its clones cost no memory.
    pub(super) fn ringer(self: &Arc<Self>, number: usize) -> Waker {
        Waker::from(Arc::new(Ringer { number, bell: Arc::clone(self) }))
    }

    /// Sets whom to wake.
    pub(super) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Puts all that have rung into `rung`, which is empty. Returns whether there are any.
    pub(super) fn take(&self, rung: &mut Vec<usize>) -> bool {
        std::mem::swap(&mut *self.rung.lock().unwrap_or_else(PoisonError::into_inner), rung);
        !rung.is_empty()
    }

    fn ring(&self, number: usize) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = rung.is_empty();
        rung.push(number);
        drop(rung);
        // Whoever came before has woken the task, or is about to.
        if is_first {
            self.waker.wake();
        }
    }
}

impl Wake for Ringer {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.bell.ring(self.number);
    }
}
