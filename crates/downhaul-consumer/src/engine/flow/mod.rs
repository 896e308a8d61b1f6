//! [`Flow`]: the messages between a source and its handlers.

mod begin;
mod give_back;
mod going;

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use downhaul_context::Context;
use futures_util::FutureExt;
use tokio::task::{JoinError, yield_now};
use tokio::time::{Instant, sleep_until, timeout};

pub(crate) use self::going::Finishes;
use crate::batch::BatchHandler;
use crate::broker::{Delivery, Event, HeldLanes, Settled, Source, Token, Verdict};
use crate::engine::Parts;
use crate::engine::away::Away;
use crate::engine::batcher::Batcher;
use crate::engine::crew::{Crew, Ended};
use crate::engine::handles::Handles;
use crate::engine::job::{Finished, Job, Then, Ticket};
use crate::engine::lanes::Lanes;
use crate::engine::limits::SETTLE;
use crate::engine::ordering::Ordered;
use crate::engine::pace::Pace;
use crate::engine::processor::Processor;
use crate::engine::schedule::Schedule;
use crate::engine::throttle::Throttle;
use crate::engine::waiting::Waiting;
use crate::error::{BrokerError, BrokerErrorKind};
use crate::handler::Meta;
use crate::kill_switch::{Allowed, Breaker};
use crate::settings::Settings;
use crate::tally::{Counters, End};

/// How many messages are begun before the engine looks at what else there is.
pub(crate) const TURN: usize = 128;
/// How many messages are settled before others have a turn: all that were buffered may be given
/// back at once.
const SETTLED_AT_ONCE: usize = 4096;

/// Holds the source, what has arrived, and what is being handled.
pub(crate) struct Flow {
    processor: Arc<Processor>,
    ordered: Option<Ordered>,
    settings: Settings,
    throttle: Throttle,
    breaker: Option<Breaker>,
    pace: Pace,
    source: Option<Box<dyn Source>>,
    /// What the source was told.
    prefetch: u16,
    has_heard: bool,
    /// Whether the source waits for its broker.
    pub(crate) away: Away,
    lanes: Lanes,
    /// Whether lanes move, and of each one position is kept.
    has_lanes: bool,
    events: Vec<Event>,
    schedule: Schedule,
    /// Where messages are handled in batches: what gathers them and who handles them.
    batches: Option<(Batcher, BatchHandler)>,
    /// For their next attempt.
    waiting: Waiting,
    /// To be given back.
    leaving: Waiting,
    /// A message that may have brought down who handled it, until nothing else is handled.
    suspect: Option<Box<Job>>,
    /// Whether what is being handled is such a message, or the one that a kill switch tries.
    is_alone: bool,
    /// Whether as many bytes are buffered as may be.
    is_full: bool,
    /// Whether what is not handled goes back with the source, and not one by one. A queue puts what
    /// is given back behind what it gets back by itself meanwhile, and keeps its order only where
    /// it gets back all at once.
    returns_all: bool,
    /// Whether the source is asked for more.
    is_reading: bool,
    /// Whether something is left for the end of the source to give back.
    is_returning: bool,
    crew: Crew,
    /// What is over and not settled yet.
    ends: Vec<(Token, End)>,
    verdicts: Vec<(Token, Verdict)>,
    /// When something may begin that may not now.
    wake_at: Option<Instant>,
}

/// What has happened; made by [`Flow::next`], which may be dropped, and taken by [`Flow::take`],
/// which may not.
pub(crate) enum Happening {
    Finished(Result<Ended, JoinError>),
    Arrived(Result<(), BrokerError>),
    Due,
}

impl Flow {
    pub(crate) fn new(session: Context, parts: &Parts, settings: Settings) -> Self {
        let mut throttle = Throttle::default();
        throttle.set(settings.rate);
        let batches = match &parts.processor.handles {
            Handles::Singly(_) => None,
            Handles::InBatches(policy, handler) => Some((Batcher::new(*policy), handler.clone())),
        };
        Self {
            processor: Arc::clone(&parts.processor),
            ordered: parts.ordered.clone(),
            settings,
            throttle,
            breaker: parts.kill_switch.clone().map(Breaker::new),
            pace: Pace::default(),
            source: None,
            prefetch: 0,
            has_heard: false,
            away: Away::default(),
            lanes: Lanes::new(session),
            has_lanes: parts.broker.capabilities().lanes,
            events: Vec::new(),
            schedule: Schedule::default(),
            batches,
            waiting: Waiting::default(),
            leaving: Waiting::default(),
            suspect: None,
            is_alone: false,
            is_full: false,
            returns_all: parts.ordered.is_some() && !parts.broker.capabilities().lanes,
            is_reading: true,
            is_returning: false,
            crew: Crew::default(),
            ends: Vec::new(),
            verdicts: Vec::new(),
            wake_at: None,
        }
    }

    pub(crate) fn set(&mut self, settings: Settings) {
        self.settings = settings;
        self.throttle.set(settings.rate);
    }

    /// Takes a source that was opened with this prefetch.
    pub(crate) fn attach(&mut self, source: Box<dyn Source>, prefetch: u16) {
        self.processor.shared.hold(source.held_lanes());
        self.source = Some(source);
        self.prefetch = prefetch;
        self.has_heard = false;
        self.away = Away::default();
        self.is_returning = false;
    }

    /// Whether the source has told anything.
    pub(crate) fn has_heard(&self) -> bool {
        self.has_heard
    }

    /// The prefetch to open a source with.
    pub(crate) fn prefetch(&self) -> u16 {
        self.settings.prefetch()
    }

    pub(crate) fn has_source(&self) -> bool {
        self.source.is_some()
    }

    /// Whether what is not handled is kept until the source goes.
    pub(crate) fn keeps_what_it_has(&self) -> bool {
        self.returns_all
    }

    /// Whether the source must go before more is handled.
    pub(crate) fn is_returning(&self) -> bool {
        self.is_returning
    }

    /// Whether nothing is left to handle or to settle.
    pub(crate) fn is_idle(&self) -> bool {
        self.crew.len() + self.buffered() + self.waiting() + self.ends.len() == 0
    }

    /// How many wait in hand.
    fn waiting(&self) -> usize {
        self.waiting.len() + self.leaving.len()
    }

    /// How many have arrived and are not begun.
    fn buffered(&self) -> usize {
        let gathered = self.batches.as_ref().map_or(0, |(batcher, _)| batcher.len());
        self.schedule.len() + gathered + usize::from(self.suspect.is_some())
    }

    /// Their payloads and headers together.
    fn buffered_bytes(&self) -> usize {
        self.schedule.bytes() + self.batches.as_ref().map_or(0, |(batcher, _)| batcher.bytes())
    }

    /// Until when nothing may begin because too much has failed.
    pub(crate) fn suspended_until(&self) -> Option<Instant> {
        match self.breaker.as_ref()?.allows(Instant::now()) {
            Allowed::NoneUntil(until) => Some(until),
            Allowed::All | Allowed::One => None,
        }
    }

    /// Opens or closes the intake. While too many bytes are buffered it is closed in any case,
    /// until half of them are gone, so that it does not open and close all the time.
    pub(crate) async fn set_intake(&mut self, open: bool) -> Result<(), BrokerError> {
        if self.returns_all {
            self.is_reading = open;
            if !open {
                // Nothing begins, so that no time is one to wake up at.
                self.wake_at = None;
                return Ok(());
            }
        }
        let (bytes, most) = (self.buffered_bytes(), self.settings.buffered_bytes);
        self.is_full = bytes > 0 && bytes >= if self.is_full { most / 2 } else { most };
        let prefetch = if open && !self.is_full { self.settings.prefetch() } else { 0 };
        if let Some(source) = self.source.as_mut().filter(|_| self.prefetch != prefetch) {
            in_time(source.set_prefetch(prefetch)).await?;
            self.prefetch = prefetch;
            if prefetch == 0 {
                // What was under way is taken in now: later it might overtake what is given back.
                while let Some(arrived) = source.next(&mut self.events).now_or_never() {
                    arrived?;
                }
                self.hear_all();
            }
        }
        Ok(())
    }

    /// Waits for something to happen. Cancel safe.
    pub(crate) async fn next(&mut self) -> Happening {
        let arriving = async {
            match &mut self.source {
                Some(source) if self.is_reading => source.next(&mut self.events).await,
                _ => pending().await,
            }
        };
        let due = async {
            match self.wake_at {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            finished = self.crew.next() => Happening::Finished(finished),
            arrived = arriving => Happening::Arrived(arrived),
            () = due => Happening::Due,
        }
    }

    /// How many events have arrived and were not taken in.
    pub(crate) fn arrived(&self) -> usize {
        self.events.len()
    }

    /// Takes in what has happened, with all else that has finished since.
    pub(crate) fn take(&mut self, happening: Happening) -> Result<(), BrokerError> {
        // What arrived before a wait was dropped is still there.
        self.hear_all();
        let mut next = match happening {
            Happening::Arrived(arrived) => return arrived,
            Happening::Due => None,
            Happening::Finished(first) => Some(first),
        };
        while let Some(ended) = next {
            // One that was aborted has nothing to say.
            ended.into_iter().flatten().for_each(|finished| self.absorb(finished));
            next = self.crew.try_next();
        }
        self.give_back_of_revoked();
        Ok(())
    }

    fn hear_all(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        events.drain(..).for_each(|event| self.hear(event));
        self.events = events;
    }

    fn hear(&mut self, event: Event) {
        self.has_heard = true;
        match event {
            Event::Delivery(delivery) => self.arrive(delivery),
            Event::Assigned(lanes) => tracing::debug!(?lanes, "lanes assigned"),
            Event::Revoking(revoking) => self.revoke(revoking),
            Event::Lost(lanes) => self.lose(&lanes),
            Event::Away(error) => self.away.begin(&self.processor.shared.name, &error),
            Event::Back => self.away.end(&self.processor.shared.name),
        }
    }

    fn arrive(&mut self, delivery: Delivery) {
        if self.lanes.is_revoking(delivery.lane) {
            self.ends.push((delivery.token, End::Released));
            return;
        }
        let tenure = self.lanes.tenure(delivery.lane);
        let key = self.ordered.as_ref().and_then(|ordered| ordered.line(&delivery.message));
        let ticket = Ticket { token: delivery.token, lane: delivery.lane, tenure, key };
        let mut meta = Meta::new(delivery, &self.processor.address);
        meta.is_in_line = key.is_some();
        self.schedule.push(Job { ticket, meta });
    }

    /// Takes in one whose handling is over, for now or for good.
    fn absorb(&mut self, finished: Finished) {
        let Finished { ticket, then } = finished;
        let is_ours = self.lanes.end(&ticket, then.is_finished()) && self.source.is_some();
        if let Some(breaker) = &mut self.breaker
            && let Some(failed) = then.is_failure()
            && let Some(turned) = breaker.record(Instant::now(), failed)
        {
            turned.tell(&self.processor.address.queue);
        }
        match then {
            // Waiting would hold up whoever the lane goes to.
            Then::Back { .. } if is_ours && self.lanes.is_revoking(ticket.lane) => {
                return self.leave_with_those_behind(&ticket);
            }
            Then::End(End::Released) if is_ours => return self.leave_with_those_behind(&ticket),
            Then::Again { meta, due } | Then::Later { meta, due } if is_ours => {
                self.waiting.push(due, Job { ticket, meta: *meta });
                // Its key waits with it.
                return;
            }
            Then::Back { meta, due } if is_ours => {
                self.leaving.push(due, Job { ticket, meta: *meta });
                return;
            }
            Then::End(end) if is_ours => self.ends.push((ticket.token, end)),
            // Of a source or a lane that is gone: the message comes again.
            Then::Again { .. } | Then::Later { .. } | Then::Back { .. } | Then::End(_) => {
                self.count_lost(1);
            }
        }
        self.schedule.done(ticket.key);
    }

    /// Settles what is over, and lets others work in between if that is much.
    pub(crate) async fn settle(&mut self) -> Result<(), BrokerError> {
        self.leave_to_the_end();
        self.gauge();
        while let Some(source) = self.source.as_mut().filter(|_| !self.ends.is_empty()) {
            let count = self.ends.len().min(SETTLED_AT_ONCE);
            let verdicts = self.ends[..count].iter().map(|(token, end)| (*token, end.verdict()));
            self.verdicts.clear();
            self.verdicts.extend(verdicts);
            let settled = in_time(source.settle(&self.verdicts)).await;
            self.count(count, &settled);
            settled?;
            if !self.ends.is_empty() {
                yield_now().await;
            }
        }
        // Lanes that are to go, now that all of them is settled.
        self.let_go();
        Ok(())
    }

    /// Counts the first of what is over, now that it is settled.
    fn count(&mut self, count: usize, settled: &Result<Settled, BrokerError>) {
        let counters = &self.processor.shared.counters;
        match settled {
            Err(_) => Counters::add(&counters.lost, count),
            Ok(settled) => {
                // Nearly all were processed: they are counted at once.
                let mut acked = 0;
                for (token, end) in &self.ends[..count] {
                    if settled.lost.contains(token) {
                        Counters::add(&counters.lost, 1);
                    } else if *end == End::Acked {
                        acked += 1;
                    } else {
                        counters.count(*end);
                    }
                }
                Counters::add(&counters.acked, acked);
            }
        }
        self.ends.drain(..count);
    }

    /// Drops a dead source and what it delivered that nobody has begun: the broker gives it again.
    pub(crate) fn lose_source(&mut self) {
        self.processor.shared.hold(HeldLanes::default());
        self.source = None;
        self.is_returning = false;
        self.prefetch = 0;
        self.events.clear();
        self.count_lost(self.ends.len());
        self.ends.clear();
        drop(self.take_out_unbegun(|_| true));
        self.forget_waiting(|_| true);
        self.lanes.forget_all();
        self.gauge();
    }

    fn count_lost(&self, count: usize) {
        Counters::add(&self.processor.shared.counters.lost, count);
    }

    /// Stops waiting for handlers and returns how many messages were left.
    pub(crate) fn abandon(&mut self) -> usize {
        self.crew.abandon()
    }

    /// Closes the source. What is not settled comes again. Returns how much comes again that is
    /// finished.
    pub(crate) async fn close(&mut self, ctx: &Context) -> u64 {
        self.processor.shared.hold(HeldLanes::default());
        let mut come_again = 0;
        if let Some(source) = self.source.take() {
            let error = match ctx.run(source.close(ctx)).await {
                Ok(closed) => closed.err().map(|error| {
                    come_again = error.come_again();
                    error.chain()
                }),
                Err(cause) => Some(cause.to_string()),
            };
            if let Some(error) = error {
                let queue = &*self.processor.address.queue;
                tracing::warn!(queue, error, "the source did not close as it should");
            }
        }
        // Those behind one that was abandoned.
        let behind = self.take_out_unbegun(|_| true);
        Counters::add(&self.processor.shared.counters.released, behind.len());
        self.gauge();
        come_again
    }

    /// Whether the source is to go, so that all that was left to its end is given back: while the
    /// consumer is paused, or before it goes on.
    pub(crate) fn is_to_part(&self, is_paused: bool) -> bool {
        let has_reason = is_paused || self.is_returning;
        self.returns_all && !self.is_reading && has_reason && self.has_source() && self.is_idle()
    }

    /// Lets the source go; another takes its place when the consumer goes on.
    pub(crate) async fn part(&mut self, ctx: &Context) {
        self.close(ctx).await;
        self.prefetch = 0;
        self.is_returning = false;
        self.events.clear();
        self.lanes.forget_all();
    }

    fn gauge(&self) {
        let gauges = &self.processor.shared.gauges;
        gauges.buffered.store(self.buffered(), Ordering::Relaxed);
        gauges.in_line.store(self.schedule.followers(), Ordering::Relaxed);
        gauges.buffered_bytes.store(self.buffered_bytes(), Ordering::Relaxed);
        gauges.waiting.store(self.waiting(), Ordering::Relaxed);
        gauges.handled.store(self.crew.len(), Ordering::Relaxed);
    }
}

/// A source that does not answer is as good as dead.
async fn in_time<T>(
    answer: impl Future<Output = Result<T, BrokerError>>,
) -> Result<T, BrokerError> {
    timeout(SETTLE, answer).await.unwrap_or_else(|_| {
        let words = format!("the source did not answer within {SETTLE:?}");
        Err(BrokerError::new(BrokerErrorKind::Unreachable, words))
    })
}
