//! [`Registration`]: a callback that can be stopped.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use crate::listener::Stop;

/// A callback of [`Context::on_done`](crate::Context::on_done). Dropping it stops the callback.
#[must_use = "dropping it stops the callback; `keep` lets go of it"]
pub struct Registration(Option<Arc<dyn Stop>>);

/// Nothing of it can be seen but whether it was stopped.
impl UnwindSafe for Registration {}

/// As [`UnwindSafe`].
impl RefUnwindSafe for Registration {}

impl Registration {
    pub(crate) fn new(listener: Arc<dyn Stop>) -> Self {
        Self(Some(listener))
    }

    /// Stops the callback. Returns whether it will never run because of this call: false if it has
    /// run, runs now, or was stopped before.
    ///
    /// Does not wait for a callback that runs now, so a callback may stop itself.
    pub fn stop(mut self) -> bool {
        self.0.take().is_some_and(|listener| listener.stop())
    }

    /// Lets go without stopping. The callback goes with the context: if that is dropped, by all who
    /// have it, without having ended, it never runs.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(listener) = self.0.take() {
            listener.stop();
        }
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").finish_non_exhaustive()
    }
}
