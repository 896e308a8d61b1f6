//! Work that one thread at a time does, and for which nobody waits.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the calls for one piece of work while somebody is at it.
#[derive(Default)]
pub(super) struct Errand(AtomicUsize);

impl Errand {
    /// Sees to it that `work` is done from start to end after this call. If somebody is at it, here
    /// or on another thread, this returns at once and the other one does it once more.
    ///
    /// `work` must not panic: nobody would do it again.
    pub(super) fn run(&self, mut work: impl FnMut()) {
        if self.0.fetch_add(1, Ordering::AcqRel) > 0 {
            return;
        }
        let mut seen = 1;
        loop {
            work();
            match self.0.compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(calls) => seen = calls,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_calls_while_the_work_is_done_has_it_done_once_more() {
        let errand = Errand::default();
        let mut done = 0;
        errand.run(|| {
            done += 1;
            if done < 3 {
                errand.run(|| unreachable!("two would be at it"));
                errand.run(|| unreachable!("two would be at it"));
            }
        });
        assert_eq!(done, 3);
    }

    #[test]
    fn it_can_be_run_again_and_again() {
        let errand = Errand::default();
        let mut done = 0;
        for _ in 0..3 {
            errand.run(|| done += 1);
        }
        assert_eq!(done, 3);
    }
}
