//! [`ConsumerHandle`]: looks at a running consumer and tells it what to be.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::dead_letters::DeadLetters;
use crate::in_flight::InFlight;
use crate::lifecycle::{State, Status, StopReport, Wanted};
use crate::settings::Settings;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::tally::Tally;

/// A running consumer, seen from outside.
///
/// The verbs are idempotent and return at once; the latest one counts. [`settled`](Self::settled)
/// waits until the consumer has become what it was asked to be. So they can be called from
/// anywhere, also from a handler of the consumer itself, where only the waiting would be a mistake.
#[derive(Clone, Debug)]
pub struct ConsumerHandle {
    pub(crate) shared: Arc<Shared>,
}

impl ConsumerHandle {
    /// The name of the consumer.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Asks it to take messages.
    pub fn start(&self) {
        self.wish(Wanted::Run);
    }

    /// Asks it to take nothing new and to stay ready. What is begun is finished; what has arrived
    /// and was not begun is released, so that others can take it.
    ///
    /// On a log nobody else can: it keeps its partitions, and they stand still. Who stops lets them
    /// go.
    pub fn pause(&self) {
        self.wish(Wanted::Pause);
    }

    /// Asks it to take messages again. The same as [`start`](Self::start).
    pub fn resume(&self) {
        self.wish(Wanted::Run);
    }

    /// Asks it to take nothing new, to finish all that has arrived at it, and to stop. What is
    /// still in the queue stays there.
    pub fn drain(&self) {
        self.wish(Wanted::Drain);
    }

    /// Asks it to take nothing new, to finish what is begun, to release the rest, and to stop. On a
    /// log it also finishes what lies before a finished message, which would come again otherwise.
    pub fn stop(&self) {
        self.wish(Wanted::Stop);
    }

    /// Asks it to stop now: the contexts of handlers end at once, and what is begun is released.
    pub fn abort(&self) {
        self.wish(Wanted::Abort);
    }

    /// Asks it to stop, as [`stop`](Self::stop) does, and to start anew: with another source, and
    /// without what its kill switch remembers.
    pub fn restart(&self) {
        self.shared.wish.send_modify(|wish| {
            wish.wanted = Wanted::Run;
            wish.version += 1;
            wish.restarts += 1;
        });
    }

    /// Changes how much it takes at a time.
    ///
    /// # Examples
    ///
    /// ```
    /// # use downhaul_consumer::ConsumerHandle;
    /// # fn examples(consumer: &ConsumerHandle) {
    /// consumer.set(|settings| settings.concurrency = 2);
    /// # }
    /// ```
    pub fn set(&self, change: impl FnOnce(&mut Settings)) {
        self.shared.wish.send_modify(|wish| {
            change(&mut wish.settings);
            wish.version += 1;
        });
    }

    /// How much it takes at a time.
    pub fn settings(&self) -> Settings {
        self.shared.wish.borrow().settings
    }

    /// What it has given up: the dead letters of its queue.
    pub fn dead_letters(&self) -> DeadLetters {
        self.shared.dead_letters.clone()
    }

    /// How its latest stop went; `None` before the first.
    pub fn last_stop(&self) -> Option<StopReport> {
        self.shared.last_stop.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `condition` holds of its status, and returns that. `None` if the consumer ends
    /// for good before.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn wait_for(&self, condition: impl FnMut(&Status) -> bool) -> Option<Status> {
        let (mut status, mut over) = (self.watch(), self.shared.over.subscribe());
        tokio::select! {
            biased;
            status = status.wait_for(condition) => status.ok().map(|status| status.clone()),
            _ = over.wait_for(|over| *over) => None,
        }
    }

    /// Waits until the consumer has become what it was last asked to be, also by others meanwhile,
    /// or has failed or ended, and returns its state.
    ///
    /// Bounded by the consumer's own budgets when it stops, and by nothing while it waits for a
    /// broker to start: wrap it in [`Context::run`](downhaul_context::Context::run).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn settled(&self) -> State {
        let mut status = self.shared.status.subscribe();
        loop {
            let wish = *self.shared.wish.borrow();
            let met = |status: &Status| wish.wanted.is_met_by(status.state);
            let answered = |status: &Status| {
                status.answers > wish.version || (status.answers == wish.version && met(status))
            };
            match status.wait_for(answered).await {
                Ok(status) if met(&status) => return status.state,
                // Another wish has overtaken this one.
                Ok(_) => {}
                Err(_) => return State::Stopped,
            }
        }
    }

    /// Its state and link now.
    pub fn status(&self) -> Status {
        self.shared.status.borrow().clone()
    }

    /// Its state and link, to wait for changes.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.shared.status.subscribe()
    }

    /// All of it at one moment.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.snapshot()
    }

    /// The messages that are being handled now.
    pub fn in_flight(&self) -> Vec<InFlight> {
        self.shared.in_flight()
    }

    /// How many messages have arrived and were not begun.
    pub fn buffered(&self) -> usize {
        self.shared.gauges.buffered.load(Ordering::Relaxed)
    }

    /// What became of the messages so far.
    pub fn tally(&self) -> Tally {
        self.shared.tally()
    }

    /// Waits until the consumer has had nothing to do for this long. It returns after at most twice
    /// the time.
    ///
    /// Tells that a queue is empty, as far as that can be told, and that a consumer hears nothing
    /// that should.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn idle_for(&self, time: Duration) {
        let mut before = None;
        loop {
            let now = self.shared.idle_at();
            if now.is_some() && now == before {
                return;
            }
            before = now;
            sleep(time).await;
        }
    }

    /// Waits until the consumer has ended for good, with its context.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ended(&self) {
        let mut over = self.shared.over.subscribe();
        let _ = over.wait_for(|over| *over).await;
    }

    fn wish(&self, wanted: Wanted) {
        self.shared.wish.send_modify(|wish| {
            wish.wanted = wanted;
            wish.version += 1;
        });
    }
}
