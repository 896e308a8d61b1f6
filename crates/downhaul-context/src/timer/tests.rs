//! What the tests of the timer share.

mod clock;
mod runtimes;
mod stress;
mod threads;
mod wheel;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::shard::Shard;
use super::{HERE, Timer};

const SECOND: Duration = Duration::from_secs(1);

/// How often a waker was run.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wakes {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn waker() -> (Arc<Wakes>, Waker) {
    let wakes = Arc::new(Wakes::default());
    (Arc::clone(&wakes), wakes.into())
}

/// Acts on what the waker is told, where no task is needed.
struct Callback<F>(F);

impl<F: Fn() + Send + Sync + 'static> Wake for Callback<F> {
    fn wake(self: Arc<Self>) {
        self.0();
    }
}

fn on_wake(act: impl Fn() + Send + Sync + 'static) -> Waker {
    Waker::from(Arc::new(Callback(act)))
}

fn poll(timer: &mut Timer, due: Instant, waker: &Waker) -> Poll<()> {
    timer.poll(due, &mut Context::from_waker(waker))
}

fn armed(due: Instant, waker: &Waker) -> Timer {
    let mut timer = Timer::new();
    assert!(poll(&mut timer, due, waker).is_pending());
    timer
}

async fn until(due: Instant) {
    let mut timer = Timer::new();
    poll_fn(|cx| timer.poll(due, cx)).await;
}

/// This thread's shard.
fn shard() -> Arc<Shard> {
    HERE.with_borrow(|here| here.clone()).expect("something was armed on this thread")
}

/// A runtime on this thread, whose clock stands still until all are idle.
fn paused() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}
