//! [`Waking`]: wakes one after the other, whatever their wakers do.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::Waker;
use std::thread;

/// A stranger's waker that panics must not keep the others from being woken. The panic hook tells
/// of each panic; the first one is kept.
#[derive(Default)]
pub(crate) struct Waking(Option<Box<dyn Any + Send>>);

impl Waking {
    #[inline]
    pub(crate) fn wake(&mut self, waker: Waker) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
            self.0.get_or_insert(panic);
        }
    }

    /// Goes on with the panic that was kept, unless the thread panics already: two at once would
    /// abort the process.
    #[inline]
    pub(crate) fn done(self) {
        if let Some(panic) = self.0
            && !thread::panicking()
        {
            resume_unwind(panic);
        }
    }
}
