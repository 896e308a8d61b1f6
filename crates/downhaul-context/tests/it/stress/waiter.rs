//! [`Waiter`]: a task that waits for a level.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Wake, Waker};

use downhaul_context::{Context, Level};

use super::counted::Counted;

/// Polled once and then only if it was woken.
pub(super) struct Waiter {
    ctx: Context,
    level: Level,
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    flag: Arc<Flag>,
    ready: bool,
}

struct Flag {
    woken: AtomicBool,
    _counted: Counted,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
    }
}

impl Waiter {
    pub(super) fn new(ctx: Context, level: Level, counted: Counted) -> Self {
        let handle = ctx.clone();
        let future = async move {
            match level {
                Level::Done => drop(handle.done().await),
                _ => handle.draining().await,
            }
        };
        let flag = Arc::new(Flag { woken: AtomicBool::new(true), _counted: counted });
        let mut waiter = Self { ctx, level, future: Box::pin(future), flag, ready: false };
        waiter.turn();
        waiter
    }

    pub(super) fn turn(&mut self) {
        if !self.ready && self.flag.woken.swap(false, Ordering::SeqCst) {
            let waker = Waker::from(Arc::clone(&self.flag));
            self.ready = self.future.as_mut().poll(&mut TaskContext::from_waker(&waker)).is_ready();
        }
    }

    /// When no call is under way, it has been woken if what it waits for has come.
    pub(super) fn judge(&mut self) {
        self.turn();
        let reached = self.ctx.level() >= self.level;
        assert_eq!(self.ready, reached, "a wait of {:?} for {:?}", self.ctx, self.level);
    }
}
