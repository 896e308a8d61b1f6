//! [`Listener`]: hears of something and reacts, on the thread that brings the news and without a
//! task.
//!
//! # Invariants
//!
//! 1. `turn` tells who listens: whoever finds it idle does, and whoever does not leaves a note that
//!    makes the one who listens do so again. So the news that a waker brings is never lost, and it
//!    never waits for another thread or for itself.
//! 2. The ear is behind a lock, in which nobody else's code runs: it is lent to the one who
//!    listens, and reactions run outside the lock. So whatever runs meanwhile may stop this
//!    listener, as it does when it drops what that belongs to: a reaction, a foreign future, and
//!    the callbacks whose time has come when a timer is set.
//! 3. Once the ear is gone from its seat the listener has stopped: no reaction begins after that.
//!    The last reaction begins by taking it away.

use std::future::Future;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, PoisonError, Weak};
use std::task::{Context as TaskContext, Poll, Wake, Waker};

use tokio::task::unconstrained;

use crate::cause::Reason;
use crate::clock::Moment;
use crate::context::Level;
use crate::node::Node;
use crate::sync::{AtomicU8, Mutex, MutexGuard, Ordering};
use crate::wait::Place;

const IDLE: u8 = 0;
const LISTENING: u8 = 1;
const AGAIN: u8 = 2;

/// What is listened to.
pub(crate) trait Ear: Send + 'static {
    /// Whether there is news once at most.
    const ONCE: bool;

    type News;

    /// As a future's `poll`, but for [`ONCE`](Self::ONCE).
    fn poll_news(&mut self, cx: &mut TaskContext<'_>) -> Poll<Self::News>;
}

/// What is done about it. It is called once for each news, never twice at a time.
pub(crate) trait React<N>: Send + 'static {
    fn react(&mut self, news: N);
}

impl<N, F: FnMut(N) + Send + 'static> React<N> for F {
    fn react(&mut self, news: N) {
        self(news);
    }
}

enum Heard<N> {
    Nothing,
    News(N),
    Last(N),
    Stopped,
}

impl<N> Heard<N> {
    fn of(news: Poll<N>, is_once: bool) -> Self {
        match news {
            Poll::Pending => Self::Nothing,
            Poll::Ready(news) if is_once => Self::Last(news),
            Poll::Ready(news) => Self::News(news),
        }
    }
}

/// Where the ear is.
enum Seat<E> {
    Taken(E),
    /// Who listens has it.
    Lent,
    Gone,
}

/// See the invariants above.
pub(crate) struct Listener<E, R> {
    turn: AtomicU8,
    seat: Mutex<Seat<E>>,
    reaction: Mutex<R>,
}

impl<E: Ear, R: React<E::News>> Listener<E, R> {
    /// Listens from now on. What is to be heard already is reacted to before this returns.
    pub(crate) fn start(ear: E, reaction: R) -> Arc<Self> {
        let (seat, reaction) = (Mutex::new(Seat::Taken(ear)), Mutex::new(reaction));
        let listener = Arc::new(Self { turn: AtomicU8::new(LISTENING), seat, reaction });
        listener.take_turn();
        listener
    }

    fn listen(self: &Arc<Self>) {
        // Invariant 1.
        if self.turn.swap(AGAIN, Ordering::AcqRel) == IDLE {
            self.turn.swap(LISTENING, Ordering::AcqRel);
            self.take_turn();
        }
    }

    fn take_turn(self: &Arc<Self>) {
        let waker = Waker::from(Arc::clone(self));
        let mut cx = TaskContext::from_waker(&waker);
        // Whoever returns in the middle leaves the turn taken: there will be no other.
        loop {
            match self.hear(&mut cx) {
                Heard::News(news) => self.react(news),
                Heard::Last(news) => return self.react(news),
                Heard::Nothing if self.rest() => return,
                Heard::Nothing => {
                    self.turn.swap(LISTENING, Ordering::AcqRel);
                }
                Heard::Stopped => return,
            }
        }
    }

    /// Invariant 2.
    fn hear(&self, cx: &mut TaskContext<'_>) -> Heard<E::News> {
        let Some(mut ear) = self.lend() else { return Heard::Stopped };
        let heard = Heard::of(ear.poll_news(cx), E::ONCE);
        let is_last = matches!(heard, Heard::Last(_));
        if self.take_back(ear, is_last) { heard } else { Heard::Stopped }
    }

    fn lend(&self) -> Option<E> {
        let mut seat = self.seat();
        match mem::replace(&mut *seat, Seat::Lent) {
            Seat::Taken(ear) => Some(ear),
            gone => {
                *seat = gone;
                None
            }
        }
    }

    /// Invariant 3. Returns whether nobody has stopped the listener meanwhile.
    fn take_back(&self, ear: E, is_last: bool) -> bool {
        let mut seat = self.seat();
        let goes_on = !matches!(*seat, Seat::Gone);
        if goes_on && !is_last {
            *seat = Seat::Taken(ear);
            return true;
        }
        *seat = Seat::Gone;
        drop(seat);
        drop(ear);
        goes_on
    }

    /// Returns whether there is nothing more to hear for now.
    fn rest(&self) -> bool {
        let order = (Ordering::AcqRel, Ordering::Acquire);
        self.turn.compare_exchange(LISTENING, IDLE, order.0, order.1).is_ok()
    }

    fn react(&self, news: E::News) {
        let mut reaction = self.reaction.lock().unwrap_or_else(PoisonError::into_inner);
        // What called the waker must not hear of a panic, which the panic hook has told of.
        let _ = catch_unwind(AssertUnwindSafe(|| reaction.react(news)));
    }

    fn seat(&self) -> MutexGuard<'_, Seat<E>> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Ear, R: React<E::News>> Wake for Listener<E, R> {
    fn wake(self: Arc<Self>) {
        self.listen();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.listen();
    }
}

/// What can be stopped.
pub(crate) trait Stop: Send + Sync {
    /// Returns whether this call stopped it.
    fn stop(&self) -> bool;
}

impl<E: Ear, R: React<E::News>> Stop for Listener<E, R> {
    fn stop(&self) -> bool {
        // What it was, and with it the ear, is dropped outside the lock.
        let was = mem::replace(&mut *self.seat(), Seat::Gone);
        !matches!(was, Seat::Gone)
    }
}

/// The end of a node, by its time too.
pub(crate) struct Ending {
    node: Weak<Node>,
    place: Place,
}

impl Ending {
    pub(crate) fn of(node: &Arc<Node>) -> Self {
        node.note_callback();
        Self { node: Arc::downgrade(node), place: Place::new(Level::Done) }
    }
}

impl Ear for Ending {
    const ONCE: bool = true;

    type News = Arc<Node>;

    fn poll_news(&mut self, cx: &mut TaskContext<'_>) -> Poll<Arc<Node>> {
        // A node that is gone never ends.
        let Some(node) = self.node.upgrade() else { return Poll::Pending };
        let reached = self.place.poll_reached(&node, cx);
        // Whoever begins a drain, or shuts its runtime down, asked for no timer.
        self.place.make_do();
        reached.map(|()| node)
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(node) = self.node.upgrade() {
            self.place.leave(&node);
        }
    }
}

/// Whatever becomes of a node by others; not what time does.
pub(crate) struct Course {
    node: Arc<Node>,
    key: Option<u32>,
    seen: (Level, Moment),
}

impl Course {
    pub(crate) fn of(node: &Arc<Node>) -> Self {
        let seen = (Level::Live, Moment::NEVER);
        Self { node: Arc::clone(node), key: None, seen }
    }
}

impl Ear for Course {
    const ONCE: bool = false;

    type News = Arc<Node>;

    fn poll_news(&mut self, cx: &mut TaskContext<'_>) -> Poll<Arc<Node>> {
        self.key = Some(self.node.register(self.key, cx.waker()));
        let now = (self.node.outlook().0, self.node.grace_ends());
        if now == self.seen {
            return Poll::Pending;
        }
        self.seen = now;
        Poll::Ready(Arc::clone(&self.node))
    }
}

impl Drop for Course {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.node.unregister(key);
        }
    }
}

/// Something of another library that ends.
pub(crate) struct Foreign(pub(crate) Pin<Box<dyn Future<Output = Reason> + Send>>);

impl Ear for Foreign {
    const ONCE: bool = true;

    type News = Reason;

    fn poll_news(&mut self, cx: &mut TaskContext<'_>) -> Poll<Reason> {
        // The task that happens to be polled here has a budget. Where that is used up, a channel
        // would be pending and wake at once, again and again.
        let foreign = pin!(unconstrained(self.0.as_mut()));
        // What called the waker must not hear of a panic, and the child must not wait for ever.
        let polled = catch_unwind(AssertUnwindSafe(|| foreign.poll(cx)));
        polled.unwrap_or_else(|_| Poll::Ready(Reason::cancelled("its foreign parent panicked")))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;

    /// Has its listener stopped while it is asked for news, and writes down whether it was.
    struct Doomed {
        listener: Arc<OnceLock<Arc<dyn Stop>>>,
        stopped: Arc<OnceLock<bool>>,
    }

    impl Ear for Doomed {
        const ONCE: bool = false;

        type News = ();

        fn poll_news(&mut self, _cx: &mut TaskContext<'_>) -> Poll<()> {
            let Some(listener) = self.listener.get() else { return Poll::Pending };
            let is_first = self.stopped.set(listener.stop()).is_ok();
            if is_first { Poll::Ready(()) } else { Poll::Pending }
        }
    }

    #[test]
    fn one_that_is_stopped_while_it_listens_does_not_react() {
        let (itself, stopped, reacted) = (Arc::default(), Arc::default(), Arc::default());
        let doomed = Doomed { listener: Arc::clone(&itself), stopped: Arc::clone(&stopped) };
        let reacts: Arc<OnceLock<()>> = Arc::clone(&reacted);
        let listener = Listener::start(doomed, move |()| reacts.set(()).unwrap());
        assert!(itself.set(Arc::clone(&listener) as Arc<dyn Stop>).is_ok());
        Waker::from(Arc::clone(&listener)).wake();
        assert_eq!((stopped.get(), reacted.get()), (Some(&true), None));
        assert!(!listener.stop(), "there is nothing left to stop");
    }
}
