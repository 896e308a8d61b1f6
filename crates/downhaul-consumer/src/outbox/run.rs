//! [`Run`]: a relay at work.
//!
//! One loop owns everything: it writes to the store what has landed, claims more when there is
//! room, and waits. It looks at the store only between two waits, so nothing lands unseen.

use std::collections::BTreeSet;
use std::time::Duration;

use downhaul_context::Context;
use futures_util::FutureExt;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::error::{PublishErrorKind, chain};
use crate::outbox::count::{count_the_rest, keep_counting};
use crate::outbox::flight::{Flight, Landed};
use crate::outbox::shared::Landing;
use crate::outbox::{Fate, Relay, RowTicket};
use crate::retry::Backoff;
use crate::store::{StoreError, StoreErrorKind};

/// How long the store may take to answer once the context has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The pauses after errors of the store.
const STORE: Backoff = Backoff::doubling(Duration::from_millis(100), Duration::from_secs(10));

/// The longest rest after a group of which nothing came through: so long it may take to notice that
/// the broker takes messages again.
const REST: Duration = Duration::from_secs(5);

pub(super) struct Run<'a> {
    relay: &'a Relay,
    ctx: &'a Context,
    flight: Flight,
    /// What has landed and is not written yet.
    fates: Vec<(RowTicket, Fate)>,
    /// When to claim next.
    look_at: Instant,
    /// When those that failed here may be tried again, to look in time.
    retries_at: BTreeSet<Instant>,
    /// Not to claim before, since nothing came through.
    rest_until: Instant,
    /// Not to ask the store before, since it failed.
    store_at: Instant,
    /// Groups in a row of which nothing came through, and errors in a row of the store.
    stalls: u32,
    faults: u32,
}

impl<'a> Run<'a> {
    pub(super) fn new(relay: &'a Relay, ctx: &'a Context) -> Self {
        let now = Instant::now();
        Self {
            relay,
            ctx,
            flight: Flight::new(ctx.clone(), relay.publisher.clone(), relay.budget),
            fates: Vec::new(),
            look_at: now,
            retries_at: BTreeSet::new(),
            rest_until: now,
            store_at: now,
            stalls: 0,
            faults: 0,
        }
    }

    /// Works, and counts meanwhile.
    pub(super) async fn run(mut self) {
        let Relay { outbox, shared, .. } = self.relay;
        tokio::select! {
            biased;
            () = self.work() => {}
            never = keep_counting(&**outbox, shared) => match never {},
        }
        count_the_rest(&**outbox, shared, self.ctx).await;
    }

    async fn work(&mut self) {
        loop {
            if self.ctx.is_done() && self.flight.len() == 0 {
                return self.last_words().await;
            }
            self.visit_store().await;
            self.relay.shared.hold(self.flight.len());
            // Looked at once: what comes between two looks would be seen by neither.
            let drains = self.ctx.is_draining();
            if drains && self.flight.len() == 0 && self.fates.is_empty() {
                return;
            }
            self.wait(!drains).await;
        }
    }

    /// Writes what has landed, and claims more.
    async fn visit_store(&mut self) {
        if Instant::now() < self.store_at {
            return;
        }
        let (ctx, begun, limit) = (self.ctx, Instant::now(), self.relay.store);
        let visit = async {
            self.settle().await?;
            self.claim().await
        };
        // A store that hangs says nothing, and would be asked nothing any more.
        let visit = async { timeout(limit, visit).await.unwrap_or_else(|_| Err(silent(limit))) };
        let patience_over = async {
            ctx.done().await;
            sleep(LAST_WORDS).await;
        };
        let visit = tokio::select! {
            biased;
            visit = visit => visit,
            () = patience_over => return,
        };
        match visit {
            Ok(()) => {
                self.faults = 0;
                self.relay.shared.store_answered();
            }
            Err(error) => {
                self.relay.shared.store_failed(&error, begun);
                self.faults += 1;
                self.store_at = Instant::now() + STORE.after(self.faults);
            }
        }
    }

    async fn settle(&mut self) -> Result<(), StoreError> {
        if !self.fates.is_empty() {
            self.relay.outbox.settle(&self.fates).await?;
            let now = Instant::now();
            let retries = self.fates.iter().filter_map(|(_, fate)| fate.retry_after());
            self.retries_at.extend(retries.filter_map(|after| now.checked_add(after)));
            self.fates.clear();
        }
        Ok(())
    }

    async fn claim(&mut self) -> Result<(), StoreError> {
        let now = Instant::now();
        if self.claims_at().is_none_or(|at| at > now) {
            return Ok(());
        }
        let room = self.relay.window - self.flight.len();
        // Time begins before the lease does, so it is over before the lease is.
        let begin_by = now + self.relay.budget;
        let rows = self.relay.outbox.claim(room, self.relay.lease()).await?;
        while self.retries_at.first().is_some_and(|at| *at <= now) {
            self.retries_at.pop_first();
        }
        let later = self.retries_at.first().copied().into_iter().chain([now + self.relay.poll]);
        self.look_at = later.min().filter(|_| rows.len() < room).unwrap_or(now);
        if Instant::now() < begin_by {
            self.flight.launch_all(rows, begin_by);
        } else {
            self.fates.extend(rows.into_iter().map(|row| (row.ticket, Fate::Released)));
        }
        Ok(())
    }

    /// When to claim next, as things stand. With more than half in hand it waits for room, so that
    /// it does not claim row by row.
    fn claims_at(&self) -> Option<Instant> {
        let wants = !self.ctx.is_draining() && self.flight.len() <= self.relay.window / 2;
        wants.then_some(self.look_at.max(self.rest_until))
    }

    /// Waits until something lands, or the store is to be visited.
    async fn wait(&mut self, live: bool) {
        let settles_at = (!self.fates.is_empty()).then_some(self.store_at);
        let claims_at = self.claims_at().map(|at| at.max(self.store_at));
        let visit_at = settles_at.into_iter().chain(claims_at).min();
        let (in_flight, outbox) = (self.flight.len() > 0, &self.relay.outbox);
        tokio::select! {
            biased;
            Some(landed) = self.flight.next(), if in_flight => self.land(landed),
            () = self.ctx.draining(), if live => {}
            _ = self.ctx.done(), if !live && !in_flight => {}
            () = outbox.news(), if live => self.look_at = Instant::now(),
            () = sleep_until(visit_at.unwrap_or(self.look_at)), if visit_at.is_some() => {}
        }
    }

    /// Takes a row that has landed, and all others that have.
    fn land(&mut self, first: Landed) {
        let mut landing = Landing::default();
        let mut next = Some(first);
        while let Some(landed) = next {
            let fate = self.judge(&landed);
            landing.count(&fate);
            landing.listen(&landed);
            self.fates.push((landed.row.ticket, fate));
            let given_up = self.flight.follow_up(landed);
            self.fates.extend(given_up.into_iter().map(|row| (row.ticket, Fate::Released)));
            next = self.flight.next().now_or_never().flatten();
        }
        // There may be more of the keys that were in hand.
        self.look_at = Instant::now();
        if landing.confirmed > 0 {
            (self.stalls, self.rest_until) = (0, self.look_at);
        } else if landing.failed > 0 {
            self.stalls += 1;
            self.rest_until = self.look_at + self.relay.backoff.after(self.stalls).min(REST);
        }
        self.relay.shared.landed(landing, self.flight.len());
    }

    fn judge(&self, landed: &Landed) -> Fate {
        let Err(error) = &landed.said else { return Fate::Confirmed };
        let (row, said) = (&landed.row, chain(error));
        let (id, attempt) = (row.outgoing.message.id(), row.attempts + 1);
        let refused = match error.kind() {
            PublishErrorKind::NotSent => {
                tracing::debug!(message_id = id, error = said, "message of the outbox not sent");
                return Fate::Released;
            }
            PublishErrorKind::Refused | PublishErrorKind::Returned => true,
            PublishErrorKind::Nacked | PublishErrorKind::Unknown => false,
        };
        if refused && row.refusals + 1 >= self.relay.refusals {
            tracing::error!(message_id = id, attempt, error = said, "message of the outbox dead");
            return Fate::Dead { error: said };
        }
        tracing::warn!(message_id = id, attempt, error = said, "message of the outbox failed");
        Fate::Retry { after: self.relay.backoff.after(attempt), error: said, refused }
    }

    /// The context has ended. What is known is written if the store can do it soon; what is not
    /// becomes free with its lease.
    async fn last_words(&mut self) {
        let words = match timeout(LAST_WORDS, self.settle()).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.chain(),
            Err(_) => "it did not answer in time".to_owned(),
        };
        tracing::warn!(error = words, "the outbox was not told what was confirmed last");
    }
}

/// The store did not answer in time.
fn silent(limit: Duration) -> StoreError {
    StoreError::new(StoreErrorKind::Failed, format!("it did not answer within {limit:?}"))
}

impl Drop for Run<'_> {
    /// Also of one that is dropped half-way.
    fn drop(&mut self) {
        self.relay.shared.over();
    }
}
