//! [`Watch`]: what ends a connection from outside: its clocks, and the server.

use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker, ready};
use std::time::Duration;

use downhaul_context::Instant;
use futures_core::future::BoxFuture;
use tokio::time::{Sleep, sleep};

use crate::serve::hub::{Stage, reached};
use crate::serve::link::Link;

/// What a [`Watch`] has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// Nothing happened for too long.
    Overdue,
    /// The server has reached the stage that is waited for.
    Stage,
    /// The connection is as old as it may become. Seen once.
    Aged,
}

/// Looks as rarely as possible: a connection asks it at each of its turns, and mostly there is
/// nothing that could have changed.
pub(crate) struct Watch {
    link: Arc<Link>,
    timer: Pin<Box<Sleep>>,
    age: Option<Pin<Box<Sleep>>>,
    stage: Stage,
    reached: BoxFuture<'static, ()>,
    /// Whom the timers and the first stage after [`Stage::Serving`] will wake. A stage that comes
    /// uses up what was registered, and may be seen before it comes: from the first on, they are
    /// looked for at each turn.
    asleep: Option<Waker>,
    /// Whether this turn is one that it asked for.
    looks_again: bool,
}

impl Watch {
    /// Waits for [`Stage::Closed`] first.
    pub(crate) fn new(link: Arc<Link>) -> Self {
        let limits = &link.hub.limits;
        let age = varied(limits.max_connection_age).map(|age| Box::pin(sleep(age)));
        let timer = Box::pin(sleep(limits.header_timeout.min(limits.idle_timeout)));
        let stage = Stage::Closed;
        let reached = until(&link, stage);
        Self { link, timer, age, stage, reached, asleep: None, looks_again: false }
    }

    /// Waits for another stage.
    pub(crate) fn look_for(&mut self, stage: Stage) {
        self.stage = stage;
        self.reached = until(&self.link, stage);
        self.asleep = None;
    }

    pub(crate) fn looks_for(&self, stage: Stage) -> bool {
        self.stage == stage
    }

    /// Whether a client of HTTP/2 was only idle for too long: it is told to go, so that a request
    /// which it sends at this moment is not lost.
    pub(crate) fn is_rested(&self) -> bool {
        self.link.is_multiplexed() && !self.link.is_busy() && !self.link.clocks.is_stuck()
    }

    /// To be polled after the connection, whose reads and writes move the due time.
    pub(crate) async fn alarm(&mut self) -> Alarm {
        poll_fn(|cx| self.poll_alarm(cx)).await
    }

    fn poll_alarm(&mut self, cx: &mut TaskContext<'_>) -> Poll<Alarm> {
        if self.is_asleep(cx.waker()) {
            return Poll::Pending;
        }
        self.asleep = None;
        if self.reached.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Alarm::Stage);
        }
        if self.age.as_mut().is_some_and(|age| age.as_mut().poll(cx).is_ready()) {
            self.age = None;
            return Poll::Ready(Alarm::Aged);
        }
        ready!(self.poll_overdue(cx));
        self.link.clocks.give_up();
        Poll::Ready(Alarm::Overdue)
    }

    fn is_asleep(&self, waker: &Waker) -> bool {
        self.asleep.as_ref().is_some_and(|asleep| asleep.will_wake(waker))
            && !self.link.is_urgent()
            && !self.timer.is_elapsed()
            && !self.age.as_ref().is_some_and(|age| age.is_elapsed())
    }

    fn poll_overdue(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        loop {
            let Some(due) = self.link.due() else {
                self.look_at_rest(cx.waker());
                return Poll::Pending;
            };
            self.looks_again = false;
            // A timer that fires too early costs one look; one that is moved on every request costs
            // the timer's lock on every request.
            if due < self.timer.deadline() {
                self.timer.as_mut().reset(due);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                self.asleep = Some(cx.waker().clone());
                return Poll::Pending;
            }
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(due);
        }
    }

    /// Has a turn once there is no request any more: a timer that fires before finds nothing due
    /// and is not armed again.
    fn look_at_rest(&mut self, waker: &Waker) {
        // Where the last one ended since the connection had its turn, one more sees to the rest.
        if !self.link.wake_at_rest(waker) && !mem::replace(&mut self.looks_again, true) {
            waker.wake_by_ref();
        }
    }
}

/// Up to a tenth more or less; `None` where it is without end.
fn varied(age: Duration) -> Option<Duration> {
    let tenth = age.checked_div(10).filter(|_| age < Duration::MAX)?;
    (age - tenth).checked_add(tenth.mul_f64(2.0 * fastrand::f64()))
}

fn until(link: &Link, stage: Stage) -> BoxFuture<'static, ()> {
    let mut stages = link.hub.stages();
    Box::pin(async move { reached(&mut stages, stage).await })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::serve::link::tests::{Woken, link};

    /// A connection that has a turn of its own just when the server becomes a lame duck.
    #[tokio::test(start_paused = true)]
    async fn a_stage_that_is_seen_before_it_is_told_is_not_the_last_that_is_heard_of() {
        let (link, woken) = (link().await, Arc::new(Woken::default()));
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = TaskContext::from_waker(&waker);
        let mut watch = Watch::new(Arc::clone(&link));
        watch.look_for(Stage::Stopping);
        assert!(watch.poll_alarm(&mut cx).is_pending());
        link.hub.mark(Stage::LameDuck);
        assert!(watch.poll_alarm(&mut cx).is_pending());
        link.hub.tell(Stage::LameDuck);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert!(watch.poll_alarm(&mut cx).is_pending());
        link.hub.raise(Stage::Stopping);
        assert_eq!(woken.0.load(Ordering::SeqCst), 2);
        assert_eq!(watch.poll_alarm(&mut cx), Poll::Ready(Alarm::Stage));
    }
}
