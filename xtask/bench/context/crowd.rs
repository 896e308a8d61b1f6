//! Ending many who wait at once, and what others notice of it.

use std::future::Future;
use std::iter;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context as TaskContext, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use downhaul_context::{Canceller, Context};
use tokio_util::sync::CancellationToken;

use crate::case::{Case, Goal};
use crate::peers::TOKEN;
use crate::probe::Probe;
use crate::samples::Samples;

/// Short enough to pass without an interruption now and then. Who walks with a lock held stalls
/// those longest who ask first.
const MOMENT: Duration = Duration::from_micros(200);

pub(super) fn cases() -> Vec<Case> {
    let (asked, microsecond) = ("is_done while 1M children are cancelled", 1000.0);
    vec![
        Case::ratio("cancel 1k waiting children, per child", TOKEN, 0.5, cancel::<1_000>),
        Case::ratio("cancel 100k waiting children, per child", TOKEN, 0.5, cancel::<100_000>),
        Case::ratio("cancel 1M waiting children, per child", TOKEN, 0.5, cancel::<1_000_000>),
        Case::new(asked, TOKEN, Goal::Nanoseconds(microsecond), stall),
    ]
}

fn cancel<const CHILDREN: u32>(probe: &Probe) -> Samples {
    let ours = || Crowd::of_ours(CHILDREN, Waker::noop());
    let peer = || Crowd::of_tokens(CHILDREN, Waker::noop());
    probe.compare(
        |lap| lap.batch(CHILDREN, ours, |crowd| assert!(crowd.root.1.cancel())),
        |lap| lap.batch(CHILDREN, peer, |crowd| crowd.root.cancel()),
    )
}

/// A root, its children, and for each of them a future that waits for its end.
struct Crowd<R, C, F> {
    root: R,
    children: Vec<C>,
    _waits: Vec<Pin<Box<F>>>,
}

impl Crowd<(), (), ()> {
    /// `waker` is the first one's. Nobody hears of the others.
    fn of_ours(
        children: u32,
        waker: &Waker,
    ) -> Crowd<(Context, Canceller), (Context, Canceller), impl Future + use<>> {
        let root = Context::root();
        let children: Vec<_> = (0..children).map(|_| root.0.child()).collect();
        let waits = waiting(children.iter().map(|child| child.0.done_owned()), waker);
        Crowd { root, children, _waits: waits }
    }

    fn of_tokens(
        children: u32,
        waker: &Waker,
    ) -> Crowd<CancellationToken, CancellationToken, impl Future + use<>> {
        let root = CancellationToken::new();
        let children: Vec<_> = (0..children).map(|_| root.child_token()).collect();
        let waits = waiting(children.iter().map(|child| child.clone().cancelled_owned()), waker);
        Crowd { root, children, _waits: waits }
    }
}

fn waiting<F: Future>(futures: impl Iterator<Item = F>, first: &Waker) -> Vec<Pin<Box<F>>> {
    let mut waits: Vec<_> = futures.map(Box::pin).collect();
    let wakers = [first].into_iter().chain(iter::repeat(Waker::noop()));
    for (wait, waker) in waits.iter_mut().zip(wakers) {
        let pending = wait.as_mut().poll(&mut TaskContext::from_waker(waker)).is_pending();
        assert!(pending, "nothing has ended");
    }
    waits
}

/// While one thread ends a million children, another asks the root and the last child in turn.
fn stall(probe: &Probe) -> Samples {
    const CHILDREN: u32 = 1_000_000;
    let ours = || {
        let watch = Arc::new(Watch::default());
        let crowd = Crowd::of_ours(CHILDREN, &Waker::from(Arc::clone(&watch)));
        let contexts = [&crowd.root.0, &crowd.children[crowd.children.len() - 1].0];
        watch.longest(|turn| contexts[turn % 2].is_done(), || assert!(crowd.root.1.cancel()))
    };
    let peer = || {
        // Nobody is told that a wait is over: the peer does not promise to know it everywhere.
        let watch = Watch::default();
        let crowd = Crowd::of_tokens(CHILDREN, Waker::noop());
        let tokens = [&crowd.root, &crowd.children[crowd.children.len() - 1]];
        watch.longest(|turn| tokens[turn % 2].is_cancelled(), || crowd.root.cancel())
    };
    probe.stopwatch(ours, peer)
}

/// How far the end of a crowd is.
#[derive(Default)]
struct Watch {
    asked: AtomicU32,
    called: OnceLock<Instant>,
    /// The first who waited has been told, so everybody must know.
    is_told: AtomicBool,
    is_over: AtomicBool,
}

impl Wake for Watch {
    fn wake(self: Arc<Self>) {
        self.is_told.store(true, Ordering::Release);
    }
}

impl Watch {
    /// Runs `end` while another thread asks and asks. Returns the longest wait for an answer.
    #[expect(clippy::disallowed_methods, reason = "measuring is what this is for")]
    fn longest(&self, ask: impl Fn(usize) -> bool + Send, end: impl FnOnce()) -> Duration {
        thread::scope(|scope| {
            let asking = scope.spawn(|| self.keep_asking(ask));
            self.until_both_run();
            self.called.get_or_init(Instant::now);
            end();
            self.is_over.store(true, Ordering::Release);
            asking.join().expect("the answers were right")
        })
    }

    /// Returns once the other thread has asked again and again in a moment in which this one ran,
    /// or after a while if the machine never runs both.
    #[expect(clippy::disallowed_methods, reason = "measuring is what this is for")]
    fn until_both_run(&self) {
        let count_in_a_moment = || {
            let (begin, mut last, mut times) = (Instant::now(), 0, 0);
            while begin.elapsed() < MOMENT {
                let asked = self.asked.load(Ordering::Relaxed);
                times += u32::from(asked != last);
                last = asked;
            }
            times
        };
        (0..1000).any(|_| count_in_a_moment() >= 100);
    }

    /// All answers are looked at. The waits count of those who asked in the first moment, or just
    /// before it.
    #[expect(clippy::disallowed_methods, reason = "measuring is what this is for")]
    fn keep_asking(&self, ask: impl Fn(usize) -> bool) -> Duration {
        let mut longest = None;
        for turn in 0.. {
            let is_over = self.is_over.load(Ordering::Acquire);
            let must_be_done = self.is_told.load(Ordering::Acquire);
            let asked = Instant::now();
            let is_done = ask(turn);
            let took = asked.elapsed();
            self.asked.fetch_add(1, Ordering::Relaxed);
            if self.called.get().is_some_and(|called| asked < *called + MOMENT) {
                longest = longest.max(Some(took));
            }
            assert!(is_done || !must_be_done, "not done, and others have been told");
            if is_over {
                break;
            }
        }
        // Nothing is known of the moment in which nobody asked.
        longest.unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "the answers were right")]
    fn an_answer_that_is_behind_what_another_was_told_is_noticed() {
        let watch = Arc::new(Watch::default());
        watch.longest(|_| false, || Arc::clone(&watch).wake());
    }

    #[test]
    fn an_answer_may_be_late_as_long_as_nobody_was_told() {
        let (watch, is_done) = (Watch::default(), AtomicBool::new(false));
        let end = || is_done.store(true, Ordering::Release);
        watch.longest(|_| is_done.load(Ordering::Acquire), end);
    }
}
