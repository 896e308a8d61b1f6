//! [`Shared`]: what a relay notes of itself, for its handles and for the log.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{PublishErrorKind, chain};
use crate::outbox::flight::Landed;
use crate::outbox::{Backlog, Fate, Outage, RelaySnapshot};
use crate::store::StoreError;

/// How long nothing may come through before that is a stall: longer than most links take to be made
/// anew.
const SILENCE: Duration = Duration::from_secs(10);

/// Written by the run that is under way, read by handles.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) seen: watch::Sender<RelaySnapshot>,
}

/// Rows that have landed together, as far as the broker was asked.
#[derive(Debug, Default)]
pub(super) struct Landing {
    pub(super) confirmed: u64,
    pub(super) failed: u64,
    pub(super) given_up: u64,
    /// When a try began that the broker did not take, but may take another time, and what was said
    /// of it.
    pub(super) in_vain: Option<(Instant, String)>,
}

impl Landing {
    pub(super) fn count(&mut self, fate: &Fate) {
        match fate {
            Fate::Confirmed => self.confirmed += 1,
            Fate::Retry { .. } => self.failed += 1,
            Fate::Dead { .. } => {
                (self.failed, self.given_up) = (self.failed + 1, self.given_up + 1)
            }
            Fate::Released => {}
        }
    }

    /// Listens to what was said of a row. A broker that will not have it is there and answers.
    pub(super) fn listen(&mut self, landed: &Landed) {
        let Err(error) = &landed.said else { return };
        match error.kind() {
            PublishErrorKind::Refused | PublishErrorKind::Returned => {}
            PublishErrorKind::Nacked | PublishErrorKind::NotSent | PublishErrorKind::Unknown => {
                self.in_vain.get_or_insert_with(|| (landed.begun, chain(error)));
            }
        }
    }
}

impl Shared {
    pub(super) fn hold(&self, rows: usize) {
        self.seen.send_if_modified(|seen| std::mem::replace(&mut seen.in_hand, rows) != rows);
    }

    pub(super) fn store_answered(&self) {
        let mut fault = None;
        self.seen.send_if_modified(|seen| {
            fault = seen.store_fault.take();
            !std::mem::replace(&mut seen.reached, true) | fault.is_some()
        });
        if let Some(Outage { since, .. }) = fault {
            tracing::info!(after_ms = millis(since.elapsed()), "the outbox answers again");
        }
    }

    /// Notes that a visit failed that had begun then.
    pub(super) fn store_failed(&self, failed: &StoreError, begun: Instant) {
        let (is_permanent, error) = (failed.is_permanent(), failed.chain());
        let mut before = None;
        self.seen.send_modify(|seen| {
            before = seen.store_fault.take();
            let since = before.as_ref().map_or(begun, |fault| fault.since);
            let error = Arc::from(error.as_str());
            seen.store_fault = Some(Outage { since, error, is_permanent });
        });
        // At each try the same would be said, for as long as it is away.
        match before {
            Some(_) => tracing::debug!(error, "the outbox still cannot be reached"),
            None => tracing::warn!(error, "the outbox cannot be reached, trying again"),
        }
    }

    /// Notes how much there is in the outbox, or that it is not known.
    pub(super) fn counted(&self, backlog: Option<Backlog>) {
        // Others may have published it, or somebody has discarded it.
        let is_empty = backlog.is_some_and(|backlog| backlog.unpublished() == 0);
        let mut over = None;
        self.seen.send_modify(|seen| {
            seen.backlog = backlog;
            // What is in hand has still to land.
            if is_empty && seen.in_hand == 0 {
                (over, seen.silent_since) = (seen.stall.take(), None);
            }
        });
        if let Some(Outage { since, .. }) = over {
            let after_ms = millis(since.elapsed());
            tracing::info!(after_ms, "nothing is left in the outbox that did not get through");
        }
    }

    pub(super) fn landed(&self, landing: Landing, in_hand: usize) {
        let (mut before, mut after) = (None, None);
        self.seen.send_modify(|seen| {
            before = seen.stall.clone();
            seen.land(landing, in_hand);
            after = seen.stall.clone();
        });
        match (before, after) {
            (None, Some(stall)) => self.say_stalled(&stall),
            (Some(Outage { since, .. }), None) => {
                tracing::info!(after_ms = millis(since.elapsed()), "the outbox gets through again");
            }
            _ => {}
        }
    }

    /// Said once: the broker may be away for long, and each row would say so at each of its tries.
    fn say_stalled(&self, stall: &Outage) {
        let (silent_ms, error) = (millis(stall.since.elapsed()), &*stall.error);
        let backlog = self.seen.borrow().backlog;
        let waiting = backlog.map(|backlog| backlog.unpublished());
        let oldest_ms = backlog.and_then(|backlog| backlog.oldest).map(millis);
        let words = "nothing of the outbox gets through to the broker, trying again";
        tracing::warn!(silent_ms, waiting, oldest_ms, error, "{words}");
    }

    /// Notes that a run is over. What it has counted stays.
    pub(super) fn over(&self) {
        self.seen.send_modify(|seen| {
            (seen.in_hand, seen.reached) = (0, false);
            (seen.store_fault, seen.stall, seen.silent_since) = (None, None, None);
        });
    }
}

impl RelaySnapshot {
    fn land(&mut self, landing: Landing, in_hand: usize) {
        self.in_hand = in_hand;
        self.published += landing.confirmed;
        self.failed += landing.failed;
        self.given_up += landing.given_up;
        if landing.confirmed > 0 {
            self.last_published = Some(Instant::now());
            (self.stall, self.silent_since) = (None, None);
        } else if let Some((begun, error)) = landing.in_vain {
            // One that came through meanwhile was no silence.
            let begun = self.last_published.map_or(begun, |at| at.max(begun));
            let since = *self.silent_since.get_or_insert(begun);
            if since.elapsed() >= SILENCE {
                let error = Arc::from(error);
                self.stall = Some(Outage { since, error, is_permanent: false });
            }
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
