//! Timers that are armed and disarmed far more often than they fire.
//!
//! tokio keeps the timers of a runtime under one lock. Here each thread keeps its own in a
//! [`Shard`], and tokio has to know of one moment a shard: the next.

mod alarm;
mod errand;
mod shard;
mod wheel;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use tokio::runtime::Handle;

use self::shard::Shard;
use self::wheel::Key;
use crate::clock::Moment;

thread_local! {
    /// The shard of the runtime that this thread last worked for.
    static HERE: RefCell<Option<Arc<Shard>>> = const { RefCell::new(None) };
}

/// Wakes a task when a moment has come. Nothing is armed before the first poll; dropping disarms.
///
/// It belongs to the runtime that was current when it was armed; where it is moved and no runtime
/// is current, it stays in that. It never fires before its moment, and not after a
/// [`tokio::time::Sleep`] would.
#[derive(Default)]
pub(crate) struct Timer(Option<Armed>);

/// Has a place in a shard, also after it has fired.
struct Armed {
    shard: Arc<Shard>,
    key: Key,
}

impl Timer {
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// Ready once `due` has come; else `cx`'s waker will be woken then, and it alone. `due` may be
    /// another one than before, which moves the timer.
    ///
    /// # Panics
    ///
    /// If it has to be armed and there is no current tokio runtime whose timer is enabled, or that
    /// is shut down, nor one in which it was armed before.
    pub(crate) fn poll(&mut self, due: impl Into<Moment>, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.try_poll(due.into(), cx).unwrap_or_else(|missing| panic!("{missing}"))
    }

    /// As [`poll`](Self::poll), but it fails with what is missing instead of a panic.
    pub(crate) fn try_poll(
        &mut self,
        due: Moment,
        cx: &mut TaskContext<'_>,
    ) -> Result<Poll<()>, &'static str> {
        if let Some(Armed { shard, key }) = &self.0
            && shard.renew(*key, due, cx.waker())
        {
            return Ok(Poll::Pending);
        }
        self.0 = match self.0.take() {
            None => Armed::new(due, cx.waker())?,
            // It has fired, is to be moved, or its runtime is shut down.
            Some(_) if due.has_come(Moment::now()) => None,
            Some(before) => before.again(due, cx.waker())?,
        };
        Ok(if self.0.is_some() { Poll::Pending } else { Poll::Ready(()) })
    }
}

impl Armed {
    /// None if `due` has come.
    fn new(due: Moment, waker: &Waker) -> Result<Option<Self>, &'static str> {
        let missing = "waiting for a deadline needs a tokio runtime with its timer enabled";
        let runtime = match Handle::try_current() {
            Ok(runtime) => runtime,
            Err(_) if due.has_come(Moment::now()) => return Ok(None),
            Err(_) => return Err(missing),
        };
        let shard = here(&runtime).unwrap_or_else(|| settle_here(&runtime));
        if let Some(key) = shard.arm(due, waker.clone(), &runtime) {
            return Ok(Some(Self { shard, key }));
        }
        if due.has_come(Moment::now()) {
            return Ok(None);
        }
        // The shard was given up.
        let shard = settle_here(&runtime);
        let Some(key) = shard.arm(due, waker.clone(), &runtime) else { return Ok(None) };
        let armed = Self { shard, key };
        if armed.shard.is_given_up() {
            return Err("waiting for a deadline needs a tokio runtime that is not shut down");
        }
        Ok(Some(armed))
    }

    /// As [`new`](Self::new) in the current runtime or, where that cannot be, in its own again if
    /// that still runs.
    fn again(self, due: Moment, waker: &Waker) -> Result<Option<Self>, &'static str> {
        Self::new(due, waker).or_else(|missing| {
            let runtime = self.shard.runtime().ok_or(missing)?;
            let _current = runtime.enter();
            Self::new(due, waker)
        })
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        self.shard.disarm(self.key);
    }
}

fn here(runtime: &Handle) -> Option<Arc<Shard>> {
    let find = |here: &RefCell<Option<Arc<Shard>>>| {
        here.borrow().as_ref().filter(|shard| shard.belongs_to(runtime)).map(Arc::clone)
    };
    HERE.try_with(find).ok().flatten()
}

fn settle_here(runtime: &Handle) -> Arc<Shard> {
    let shard = Shard::new(runtime);
    // Where the thread is about to end, the shard lives as long as its timers.
    let left = HERE.try_with(|here| here.replace(Some(Arc::clone(&shard))));
    drop(left);
    shard
}
