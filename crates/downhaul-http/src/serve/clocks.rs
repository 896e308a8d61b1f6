//! [`Clocks`]: how long a connection may stay as it is.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use downhaul_context::Instant;

use crate::serve::limits::Limits;

/// While a server stops, a connection without a request may be silent for so long before it is
/// closed: time enough for the rest of a head that is on its way.
const QUIET: Duration = Duration::from_secs(1);

/// No byte has come since there was last a request.
const NO_HEAD: u8 = 0;
/// Bytes have come, and nobody has looked since.
const NEW_HEAD: u8 = 1;
/// Its time runs, from [`Times::head_since`].
const TIMED_HEAD: u8 = 2;

/// What has happened on a connection, and when. What each request does is atomic; what is rare is
/// under a lock.
pub(crate) struct Clocks {
    opened: Instant,
    /// When there was last a request: nanoseconds after it was opened.
    idle_at: AtomicU64,
    /// An answer was handed over and has not all been written yet.
    unflushed: AtomicBool,
    /// How far the head of the next request has come; see [`NO_HEAD`].
    head: AtomicU8,
    /// The client takes no more of what there is to write.
    is_stuck: AtomicBool,
    /// And has had its time.
    has_given_up: AtomicBool,
    /// When an HTTP/2 client was told to begin no more streams.
    told_to_go: OnceLock<Instant>,
    /// It has begun one long after.
    overstays: AtomicBool,
    /// All is written, and the client may stay for as long as `Linger` says.
    lingers: AtomicBool,
    times: Mutex<Times>,
}

/// When what is rare has begun, as far as somebody has looked.
#[derive(Default)]
struct Times {
    head_since: Option<Instant>,
    stuck_since: Option<Instant>,
    /// When bytes last moved. Kept only while the server stops.
    moved: Option<Instant>,
}

impl Clocks {
    pub(super) fn begin() -> Self {
        Self {
            opened: Instant::now(),
            idle_at: AtomicU64::new(0),
            unflushed: AtomicBool::new(false),
            head: AtomicU8::new(NO_HEAD),
            is_stuck: AtomicBool::new(false),
            has_given_up: AtomicBool::new(false),
            told_to_go: OnceLock::new(),
            overstays: AtomicBool::new(false),
            lingers: AtomicBool::new(false),
            times: Mutex::default(),
        }
    }

    pub(super) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    pub(super) fn begin_request(&self, started: Instant, limits: &Limits) {
        self.forget_head();
        if self.time_to_go(limits).is_some_and(|end| end < started) {
            self.overstays.store(true, Ordering::Relaxed);
        }
    }

    /// Bytes have come that may be the first of a head.
    pub(super) fn begin_head(&self) {
        if self.head.load(Ordering::Relaxed) == NO_HEAD {
            self.head.store(NEW_HEAD, Ordering::Relaxed);
        }
    }

    /// What has come was none, or all of it is there.
    pub(super) fn forget_head(&self) {
        self.head.store(NO_HEAD, Ordering::Relaxed);
    }

    /// The handshake that came before everything else is done.
    pub(super) fn greeted(&self) {
        self.idle_from(Instant::now());
        self.forget_head();
        self.times().head_since = None;
    }

    pub(super) fn bytes_moved(&self) {
        self.times().moved = Some(Instant::now());
    }

    /// Said once, when an HTTP/2 client is told to begin no more streams.
    pub(super) fn tell_to_go(&self) {
        let _ = self.told_to_go.set(Instant::now());
    }

    pub(super) fn is_told_to_go(&self) -> bool {
        self.told_to_go.get().is_some()
    }

    pub(super) fn linger(&self) {
        self.lingers.store(true, Ordering::Relaxed);
    }

    /// When a client that was told to go should have heard of it: after the time of a head.
    fn time_to_go(&self, limits: &Limits) -> Option<Instant> {
        self.told_to_go.get()?.checked_add(limits.header_timeout)
    }

    /// The body of an answer is with hyper, which may not have written it yet.
    pub(crate) fn handed_over(&self, now: Instant) {
        self.idle_from(now);
        self.unflushed.store(true, Ordering::Release);
    }

    fn idle_from(&self, now: Instant) {
        let after = now.saturating_duration_since(self.opened).as_nanos();
        self.idle_at.store(u64::try_from(after).unwrap_or(u64::MAX), Ordering::Release);
    }

    pub(super) fn flushed(&self) {
        self.unflushed.store(false, Ordering::Release);
    }

    /// The client takes no more for now.
    pub(super) fn stuck(&self) {
        self.is_stuck.store(true, Ordering::Relaxed);
        self.times().stuck_since.get_or_insert_with(Instant::now);
    }

    /// Whether the socket has no room. That of a stream is another matter.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck.load(Ordering::Relaxed)
    }

    /// The connection is closed. If the client takes nothing, that is why.
    pub(super) fn give_up(&self) {
        self.has_given_up.store(self.is_stuck(), Ordering::Relaxed);
    }

    /// Whether it was closed since the client took nothing.
    pub(crate) fn has_given_up(&self) -> bool {
        self.has_given_up.load(Ordering::Relaxed)
    }

    /// The client takes more again.
    pub(super) fn unstuck(&self) {
        self.is_stuck.store(false, Ordering::Relaxed);
        self.times().stuck_since = None;
    }

    /// Whether it may be due sooner than it was at the last look.
    pub(super) fn is_urgent(&self) -> bool {
        self.head.load(Ordering::Relaxed) != NO_HEAD
            || self.is_stuck()
            || self.overstays.load(Ordering::Relaxed)
    }

    /// When the connection is to be closed if nothing happens; `None` while it is busy, with a
    /// request of which the client takes the answer.
    pub(super) fn due(&self, limits: &Limits, is_busy: bool, stops: bool) -> Option<Instant> {
        if self.lingers.load(Ordering::Relaxed) {
            return None;
        }
        if self.overstays.load(Ordering::Relaxed) {
            return self.time_to_go(limits);
        }
        let mut times = self.times();
        self.time_head(&mut times);
        if is_busy || self.unflushed.load(Ordering::Acquire) {
            return times.stuck_since?.checked_add(limits.write_timeout);
        }
        let idle_since = self.opened + Duration::from_nanos(self.idle_at.load(Ordering::Acquire));
        let idle = idle_since.checked_add(limits.idle_timeout);
        let late = times.head_since.and_then(|since| since.checked_add(limits.header_timeout));
        let quiet = stops.then(|| times.moved.map_or(idle_since, |at| at.max(idle_since)) + QUIET);
        // What a client of HTTP/2 says without a request is waited for no longer than a head.
        let told = self.told_to_go.get().map(|told| idle_since.max(*told));
        let last = told.and_then(|since| since.checked_add(limits.header_timeout));
        let idle = idle.filter(|_| late.is_none() && told.is_none());
        [idle, late, quiet, last].into_iter().flatten().min()
    }

    /// Not every request is looked at: the head that is there may be another than at the last look.
    fn time_head(&self, times: &mut Times) {
        match self.head.load(Ordering::Relaxed) {
            NO_HEAD => times.head_since = None,
            NEW_HEAD => {
                self.head.store(TIMED_HEAD, Ordering::Relaxed);
                times.head_since = Some(Instant::now());
            }
            _ => {}
        }
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        // Nothing that can panic runs under the lock, so a poisoned one is still whole.
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> Limits {
        Limits {
            header_timeout: 5 * SECOND,
            write_timeout: 10 * SECOND,
            idle_timeout: 60 * SECOND,
            ..Limits::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_a_little_has_the_whole_time_again() {
        let (clocks, begun) = (Clocks::begin(), Instant::now());
        let due = || clocks.due(&limits(), false, false);
        clocks.handed_over(begun);
        assert_eq!(due(), None);
        clocks.stuck();
        advance(6 * SECOND).await;
        clocks.stuck();
        assert_eq!(due(), Some(begun + 10 * SECOND));
        clocks.unstuck();
        assert_eq!(due(), None);
        clocks.stuck();
        assert_eq!(due(), Some(begun + 16 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_time_from_the_first_look_at_it_however_long_the_client_was_idle() {
        let (clocks, begun) = (Clocks::begin(), Instant::now());
        let due = || clocks.due(&limits(), false, false);
        assert_eq!(due(), Some(begun + 60 * SECOND));
        advance(50 * SECOND).await;
        clocks.begin_head();
        assert!(clocks.is_urgent());
        assert_eq!(due(), Some(begun + 55 * SECOND));
        advance(SECOND).await;
        clocks.begin_head();
        assert_eq!(due(), Some(begun + 55 * SECOND), "more of it is no new one");
        clocks.begin_request(Instant::now(), &limits());
        assert!(!clocks.is_urgent());
        assert_eq!(clocks.due(&limits(), true, false), None, "it is busy");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_was_told_to_go_has_the_time_of_a_head_to_hear_of_it() {
        let (clocks, begun) = (Clocks::begin(), Instant::now());
        clocks.tell_to_go();
        advance(4 * SECOND).await;
        clocks.begin_request(Instant::now(), &limits());
        assert_eq!(clocks.due(&limits(), true, false), None, "it had not heard of it");
        advance(2 * SECOND).await;
        clocks.begin_request(Instant::now(), &limits());
        assert_eq!(clocks.due(&limits(), true, false), Some(begun + 5 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_lingers_is_closed_by_none_of_them() {
        let clocks = Clocks::begin();
        clocks.tell_to_go();
        clocks.linger();
        assert_eq!(clocks.due(&limits(), false, true), None);
    }

    #[tokio::test(start_paused = true)]
    async fn while_its_server_stops_a_connection_may_be_silent_for_a_second() {
        let (clocks, begun) = (Clocks::begin(), Instant::now());
        assert_eq!(clocks.due(&limits(), false, true), Some(begun + QUIET));
        advance(SECOND / 2).await;
        clocks.bytes_moved();
        assert_eq!(clocks.due(&limits(), false, true), Some(begun + SECOND / 2 + QUIET));
    }
}
