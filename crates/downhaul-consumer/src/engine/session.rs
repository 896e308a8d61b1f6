//! [`Session`]: from a start of the consumer to its stop.

use std::future::pending;
use std::sync::PoisonError;
use std::time::Duration;

use downhaul_context::{Canceller, Context, Reason};
use tokio::time::{Instant, sleep_until};

use crate::engine::Parts;
use crate::engine::flow::{Finishes, Flow, Happening, TURN};
use crate::engine::opening::{Opened, Opening};
use crate::error::{BrokerError, BrokerErrorKind};
use crate::later::later;
use crate::lifecycle::{Link, Phase, Stopping, Wanted, Wish};
use crate::tally::Counters;

/// A source that lives for so long is of use, also if it has nothing to deliver.
const USEFUL: Duration = Duration::from_secs(1);

pub(crate) struct Session {
    parts: Parts,
    /// What all that is handled lives under: drains when the consumer does, ends with its budget.
    pub(crate) ctx: Context,
    canceller: Canceller,
    flow: Flow,
    opening: Opening,
    attached_at: Instant,
    /// How many sources in a row were lost before they were of any use.
    useless: u32,
    /// How often the consumer had been asked to begin anew.
    pub(crate) restarts: u64,
    pub(crate) opened: bool,
    pub(crate) closed: bool,
    /// Why no source can be opened, for good.
    pub(crate) failure: Option<BrokerError>,
    /// Until when nothing may begin, as it was when that was last looked at.
    suspended_until: Option<Instant>,
    grace_at: Option<Instant>,
    /// Until when a stop waits for what is tried again, if it does.
    patience: Instant,
    stopping: Option<Stopping>,
    /// How many messages were begun since others had a turn.
    run: usize,
}

/// What has happened to a session.
pub(crate) enum News {
    Opened(Opened),
    Flow(Happening),
    /// Nothing of its own: a time has come, or something else is wished, so all is looked at again.
    Look,
}

impl Session {
    pub(crate) fn begin(ctx: &Context, parts: &Parts, wish: &Wish) -> Self {
        let (ctx, canceller) = ctx.derive().label(parts.shared.name.to_string()).build();
        let flow = Flow::new(ctx.clone(), parts, wish.settings);
        Self {
            parts: parts.clone(),
            ctx,
            canceller,
            flow,
            opening: Opening::default(),
            attached_at: Instant::now(),
            useless: 0,
            restarts: wish.restarts,
            opened: false,
            closed: false,
            failure: conflict(parts),
            suspended_until: None,
            grace_at: None,
            patience: Instant::now(),
            stopping: None,
            run: 0,
        }
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.flow.is_idle()
    }

    pub(crate) fn is_grace_over(&self) -> bool {
        self.grace_at.is_some_and(|at| at <= Instant::now())
    }

    pub(crate) fn suspended_until(&self) -> Option<Instant> {
        self.flow.suspended_until()
    }

    pub(crate) fn link(&self) -> Link {
        if self.flow.has_source() { self.flow.away.link() } else { self.opening.link() }
    }

    /// Whether others should have a turn before the next message begins.
    pub(crate) fn take_turn(&mut self) -> bool {
        let over = self.run >= TURN;
        self.run = if over { 0 } else { self.run };
        over
    }

    /// Does what the phase is for, as far as it goes without waiting for handlers.
    pub(crate) async fn work(&mut self, phase: Phase, wish: &Wish, is_news: impl Fn() -> bool) {
        self.flow.set(wish.settings);
        if let Err(error) = self.try_to_work(phase, wish, is_news).await {
            self.lose_link(&error);
        }
    }

    /// # Errors
    ///
    /// The link is lost.
    async fn try_to_work(
        &mut self,
        phase: Phase,
        wish: &Wish,
        is_news: impl Fn() -> bool,
    ) -> Result<(), BrokerError> {
        self.suspended_until = self.flow.suspended_until();
        let suspended = self.suspended_until.is_some();
        match phase {
            Phase::Running if !suspended && !self.flow.is_returning() => {
                self.flow.set_intake(true).await?;
                self.run += self.flow.begin(self.flow.is_to_let_go(), is_news);
                // There may be room again for what was too much before.
                self.flow.set_intake(true).await?;
            }
            Phase::Running | Phase::Paused => {
                self.flow.set_intake(false).await?;
                // A kill switch that is open for a moment is no reason for all to go back.
                let keeps = self.flow.keeps_what_it_has() && !self.flow.is_returning();
                if phase == Phase::Paused || !keeps {
                    self.flow.give_back();
                }
            }
            Phase::Draining => {
                if wish.wanted == Wanted::Abort {
                    self.canceller.cancel_with(Reason::operator("abort"));
                }
                self.flow.set_intake(false).await?;
                let finishes = self.finishes(wish).filter(|_| !suspended);
                match finishes.filter(|finishes| self.flow.finishes(*finishes, self.patience)) {
                    Some(_) => self.run += self.flow.begin(true, is_news),
                    None => self.flow.give_back(),
                }
            }
            Phase::Cancelling => self.flow.give_back(),
            Phase::Stopped | Phase::Failed | Phase::Starting | Phase::Closing => {}
        }
        // Handlers that were begun just now may have failed.
        self.suspended_until = self.suspended_until.or_else(|| self.flow.suspended_until());
        self.flow.settle().await?;
        if phase.wants_source() && self.flow.is_to_part(phase == Phase::Paused) {
            let (closing, _closing) = self.ctx.detached().with_timeout(self.parts.budgets.close);
            self.flow.part(&closing).await;
        }
        Ok(())
    }

    /// Whether there is to be a source and is none. A consumer whose source goes while it is paused
    /// has had one before.
    fn opens(&self, phase: Phase) -> bool {
        let is_parted = phase == Phase::Paused && self.opened && self.flow.keeps_what_it_has();
        phase.wants_source() && !self.flow.has_source() && !is_parted
    }

    /// What of that which has arrived is still begun, now that the consumer stops.
    fn finishes(&self, wish: &Wish) -> Option<Finishes> {
        match wish.wanted {
            _ if self.ctx.is_done() => None,
            Wanted::Stop => Some(Finishes::WhatIsBeforeFinished),
            _ if self.restarts != wish.restarts => Some(Finishes::WhatIsBeforeFinished),
            _ => Some(Finishes::All),
        }
    }

    /// Waits for something to happen. Cancel safe.
    pub(crate) async fn next(&mut self, phase: Phase) -> News {
        let opens = self.opens(phase);
        let end = self.next_end(phase);
        let (ctx, drains) = (&self.ctx, phase == Phase::Draining);
        let (Parts { broker, subscription, .. }, prefetch) = (&self.parts, self.flow.prefetch());
        let opening = self.opening.next(ctx, broker, subscription, prefetch);
        let time = async {
            match end {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            opened = opening, if opens => News::Opened(opened),
            happening = self.flow.next() => News::Flow(happening),
            _ = ctx.done(), if drains => News::Look,
            () = time => News::Look,
        }
    }

    /// When the phase changes by time alone, or what it allows does. It may be over by now, and was
    /// not when the work was done.
    fn next_end(&self, phase: Phase) -> Option<Instant> {
        match phase {
            Phase::Running => self.suspended_until,
            Phase::Cancelling => self.grace_at,
            _ => None,
        }
    }

    pub(crate) fn take(&mut self, news: News) {
        match news {
            News::Look => {}
            News::Flow(happening) => {
                // What arrives takes time as well, though less of it.
                self.run += self.flow.arrived() / 8;
                if let Err(error) = self.flow.take(happening) {
                    self.lose_link(&error);
                }
            }
            News::Opened(Ok((source, prefetch))) => {
                self.flow.attach(source, prefetch);
                self.attached_at = Instant::now();
                self.opening.succeed(&self.parts.shared.name);
                self.opened = true;
            }
            News::Opened(Err(error)) if error.is_permanent() => self.failure = Some(error),
            News::Opened(Err(error)) => self.opening.fail(&self.parts.shared.name, &error),
        }
    }

    fn lose_link(&mut self, error: &BrokerError) {
        let consumer = &*self.parts.shared.name;
        let chain = error.chain();
        match error.kind() {
            BrokerErrorKind::QueueGone => {
                tracing::warn!(consumer, error = chain, "the queue is gone, opening it again");
            }
            _ => tracing::warn!(consumer, error = chain, "link to the broker lost"),
        }
        let was_of_use = self.flow.has_heard() || self.attached_at.elapsed() >= USEFUL;
        self.useless = if was_of_use { 0 } else { self.useless.saturating_add(1) };
        self.flow.lose_source();
        self.opening = Opening::after(error, self.useless, self.flow.away.since());
    }

    /// Begins the first stage of a stop.
    pub(crate) fn drain(&mut self) {
        self.opening = Opening::default();
        let budget = self.parts.budgets.drain;
        let mut stopping = Stopping::new(self.parts.shared.tally());
        stopping.enter(Phase::Draining, Instant::now(), budget);
        self.stopping = Some(stopping);
        self.patience = later(Instant::now(), budget / 2);
        self.canceller.drain(budget);
    }

    /// Begins the second, in which handlers have been told to stop.
    pub(crate) fn give_grace(&mut self) {
        let (now, grace) = (Instant::now(), self.parts.budgets.after_cancel());
        self.grace_at = Some(later(now, grace));
        if let Some(stopping) = &mut self.stopping {
            stopping.enter(Phase::Cancelling, now, grace);
        }
    }

    /// The last: lets go of what did not stop, and of the broker.
    pub(crate) async fn close(&mut self, outer: &Context) {
        let shared = &self.parts.shared;
        let (now, budget) = (Instant::now(), self.parts.budgets.close);
        if let Some(stopping) = &mut self.stopping {
            stopping.enter(Phase::Closing, now, budget);
            if !self.flow.is_idle() {
                stopping.abandoned = shared.in_flight();
            }
        }
        let abandoned = self.flow.abandon();
        if abandoned > 0 {
            Counters::add(&shared.counters.abandoned, abandoned);
            tracing::error!(consumer = &*shared.name, abandoned, "handlers did not stop");
        }
        let (closing, _closing) = outer.detached().with_timeout(budget);
        let come_again = self.flow.close(&closing).await;
        if let Some(stopping) = &mut self.stopping {
            stopping.come_again = come_again;
        }
        self.closed = true;
    }

    /// Writes the report of the stop. Returns why the session failed, if it did.
    pub(crate) fn end(self) -> Option<BrokerError> {
        let shared = &self.parts.shared;
        if let Some(stopping) = self.stopping {
            let report = stopping.finish(Instant::now(), shared.tally());
            *shared.last_stop.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
        }
        self.failure
    }
}

/// Why the consumer and its broker cannot be had together.
fn conflict(parts: &Parts) -> Option<BrokerError> {
    let marks = parts.processor.inbox.is_some();
    (marks && parts.broker.capabilities().transactions).then(|| {
        let words = "a consumer of a transactional broker cannot dedupe: \
            messages would be marked as done before their outcomes are visible";
        BrokerError::new(BrokerErrorKind::Configuration, words)
    })
}
