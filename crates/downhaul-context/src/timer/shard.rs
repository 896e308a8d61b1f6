//! The timers of one thread in one runtime.
//!
//! # Invariants
//!
//! 1. `timers` is locked for a few steps at a time. While it is, no waker is run, cloned or dropped
//!    and no other lock is taken, tokio's neither.
//! 2. Only who is on the `errand` touches the alarm. Whoever finds somebody at it goes: the other
//!    one will look once more. So the bell may ring at any time, also within a call to the alarm,
//!    and waits for nobody.
//! 3. While something waits in the wheel, the alarm is set for `alarm_at`, at or before the first
//!    due moment, or there is a call to set it. Disarming leaves the alarm alone: it rings once in
//!    vain, which is cheaper than to move it each time. A clock that a test has paused leaps to its
//!    next timer, though, and must not leap to one that is gone. There the alarm follows at once.
//! 4. A wheel whose time is `Moment::NEVER` is given up: its runtime is shut down. All that waited
//!    were woken, to arm themselves elsewhere, and it takes in nothing new.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Wake, Waker};

use tokio::runtime::{self, Handle};
use tokio::time::{Instant, sleep_until};

use super::alarm::Alarm;
use super::errand::Errand;
use super::wheel::{Key, Wheel};
use crate::clock::Moment;
use crate::waking::Waking;

pub(super) struct Shard {
    runtime: runtime::Id,
    timers: Mutex<Timers>,
    errand: Errand,
    alarm: Mutex<Alarm>,
}

struct Timers {
    /// Its moments are our [`Moment`]s.
    wheel: Wheel<Waker>,
    /// Never, while nothing waits.
    alarm_at: Moment,
    /// Whether the clock was other than the system's when the alarm was set.
    clock_is_artificial: bool,
    /// None while nothing waits, since it would keep parts of a runtime that is gone.
    runtime: Option<Handle>,
}

impl Shard {
    /// # Panics
    ///
    /// In tokio's words, if the current runtime has no timer.
    pub(super) fn new(runtime: &Handle) -> Arc<Self> {
        let now = Instant::now();
        drop(sleep_until(now));
        Arc::new_cyclic(|shard| Self {
            runtime: runtime.id(),
            timers: Mutex::new(Timers::new(now.into())),
            errand: Errand::default(),
            alarm: Mutex::new(Alarm::new(Bell::of(shard))),
        })
    }

    pub(super) fn belongs_to(&self, runtime: &Handle) -> bool {
        self.runtime == runtime.id()
    }

    /// Wakes `waker` when `due` has come. None if that is in the past already or if the shard is
    /// given up: the clock tells which. `runtime` is the one the shard belongs to.
    pub(super) fn arm(&self, due: Moment, waker: Waker, runtime: &Handle) -> Option<Key> {
        let mut timers = self.timers();
        let key = timers.wheel.insert(due.as_nanos(), waker);
        let is_first = key.is_ok() && due < timers.alarm_at;
        if is_first {
            timers.runtime.get_or_insert_with(|| runtime.clone());
        }
        drop(timers);
        if is_first {
            self.tend();
        }
        key.ok()
    }

    /// Makes `waker` the one to wake. False if it is not armed for `due` any more, or never was.
    pub(super) fn renew(&self, key: Key, due: Moment, waker: &Waker) -> bool {
        let due = due.as_nanos();
        let is_known = self.timers().wheel.waiting(key, due).map(|known| known.will_wake(waker));
        if is_known != Some(false) {
            return is_known.is_some();
        }
        let mut waker = waker.clone();
        let is_waiting = match self.timers().wheel.waiting(key, due) {
            Some(known) => {
                std::mem::swap(known, &mut waker);
                true
            }
            None => false,
        };
        drop(waker);
        is_waiting
    }

    pub(super) fn disarm(&self, key: Key) {
        let mut timers = self.timers();
        let (due, waker) = timers.wheel.remove(key);
        let is_alarm = timers.clock_is_artificial && due == timers.alarm_at.as_nanos();
        drop(timers);
        drop(waker);
        if is_alarm {
            self.tend();
        }
    }

    /// Its runtime, while something waits in it.
    pub(super) fn runtime(&self) -> Option<Handle> {
        self.timers().runtime.clone()
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.timers().wheel.elapsed() == Moment::NEVER.as_nanos()
    }

    /// Wakes what is due and sets the alarm for what comes next. Leaves it to whoever is at it.
    fn tend(&self) {
        self.errand.run(|| {
            if catch_unwind(AssertUnwindSafe(|| self.wake_and_set())).is_err() {
                // Tokio panics where its timer is shut down at this very moment.
                self.give_up();
            }
        });
    }

    fn wake_and_set(&self) {
        let Some(runtime) = self.runtime() else { return };
        // Who tends may be in another runtime, or in none: it would read another clock.
        let _current = runtime.enter();
        loop {
            let next = self.wake_due();
            let Some(at) = next.instant() else { return self.alarm().clear() };
            if self.alarm().set(at).is_pending() {
                return;
            }
            if Moment::now() < next {
                return self.give_up();
            }
        }
    }

    /// Returns what the alarm is to be set for.
    fn wake_due(&self) -> Moment {
        let (now, clock_is_artificial) = read_clock();
        self.expire(now);
        let mut timers = self.timers();
        timers.clock_is_artificial = clock_is_artificial;
        let unneeded = timers.settle();
        let next = timers.alarm_at;
        drop(timers);
        drop(unneeded);
        next
    }

    fn give_up(&self) {
        self.expire(Moment::NEVER);
        let unneeded = self.timers().runtime.take();
        drop(unneeded);
        self.alarm().clear();
    }

    fn expire(&self, now: Moment) {
        // Whoever rang the bell has nothing to do with a panic of theirs, so it ends here.
        let (mut due, mut waking) = (Vec::new(), Waking::default());
        loop {
            let more = self.timers().wheel.expire(now.as_nanos(), &mut due);
            due.drain(..).for_each(|waker| waking.wake(waker));
            if !more {
                return;
            }
        }
    }

    fn timers(&self) -> MutexGuard<'_, Timers> {
        // Nothing that can panic runs under the lock, so a poisoned one is still whole.
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alarm(&self) -> MutexGuard<'_, Alarm> {
        // Invariant 2: this never waits. Where the alarm panics, it is cleared next.
        self.alarm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.timers().wheel.len()
    }

    /// Whether it keeps parts of its runtime.
    #[cfg(test)]
    pub(super) fn keeps_its_runtime(&self) -> bool {
        self.timers().runtime.is_some() || self.alarm().moment().is_some()
    }

    /// Invariant 3, when nobody is at it.
    #[cfg(test)]
    pub(super) fn alarm_is_in_time(&self) -> bool {
        let next = self.timers().wheel.next_due().map(Moment::from_nanos);
        let alarm = self.alarm().moment().map(Moment::from);
        next.is_none_or(|next| alarm.is_some_and(|alarm| alarm <= next))
    }
}

impl Timers {
    fn new(now: Moment) -> Self {
        let wheel = Wheel::new(now.as_nanos());
        Self { wheel, alarm_at: Moment::NEVER, clock_is_artificial: false, runtime: None }
    }

    /// Sees what comes next. Returns the runtime if nothing does.
    fn settle(&mut self) -> Option<Handle> {
        if self.clock_is_artificial {
            self.wheel.tighten();
        }
        let next = self.wheel.next_due();
        self.alarm_at = next.map_or(Moment::NEVER, Moment::from_nanos);
        if next.is_none() { self.runtime.take() } else { None }
    }
}

/// The alarm's waker. It does not keep the shard, which keeps the alarm.
struct Bell(Weak<Shard>);

impl Bell {
    fn of(shard: &Weak<Shard>) -> Waker {
        Waker::from(Arc::new(Self(Weak::clone(shard))))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(shard) = self.0.upgrade() {
            shard.tend();
        }
    }
}

/// The time, and whether a test has paused or moved the clock.
#[expect(clippy::disallowed_methods, reason = "compares tokio's clock with the system's")]
fn read_clock() -> (Moment, bool) {
    let before = std::time::Instant::now();
    let now = Instant::now();
    let after = std::time::Instant::now();
    (now.into(), !(before..=after).contains(&now.into_std()))
}
