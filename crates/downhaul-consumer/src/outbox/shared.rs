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
        self.seen.send_if_modified(|seen| {
            let fault = seen.store_fault.take();
            fault.is_some() | !std::mem::replace(&mut seen.reached, true)
        });
    }

    pub(super) fn store_failed(&self, error: &StoreError) {
        let (is_permanent, error) = (error.is_permanent(), error.chain());
        self.seen.send_modify(|seen| {
            let since = seen.store_fault.as_ref().map_or_else(Instant::now, |fault| fault.since);
            seen.store_fault = Some(Outage { since, error: Arc::from(error), is_permanent });
        });
    }

    /// Notes how much there is in the outbox, or that it is not known.
    pub(super) fn counted(&self, backlog: Option<Backlog>) {
        self.seen.send_modify(|seen| {
            seen.backlog = backlog;
            // Others may have published it, or somebody has discarded it.
            if backlog.is_some_and(|backlog| backlog.unpublished() == 0) {
                (seen.stall, seen.silent_since) = (None, None);
            }
        });
    }

    pub(super) fn landed(&self, landing: Landing, in_hand: usize) {
        let now = Instant::now();
        self.seen.send_modify(|seen| {
            seen.in_hand = in_hand;
            seen.published += landing.confirmed;
            seen.failed += landing.failed;
            seen.given_up += landing.given_up;
            if landing.confirmed > 0 {
                seen.last_published = Some(now);
                (seen.stall, seen.silent_since) = (None, None);
            } else if let Some((begun, error)) = landing.in_vain {
                // One that came through meanwhile was no silence.
                let begun = seen.last_published.map_or(begun, |at| at.max(begun));
                let since = *seen.silent_since.get_or_insert(begun);
                if now - since >= SILENCE {
                    let error = Arc::from(error);
                    seen.stall = Some(Outage { since, error, is_permanent: false });
                }
            }
        });
    }

    /// Notes that a run is over. What it has counted stays.
    pub(super) fn over(&self) {
        self.seen.send_modify(|seen| {
            (seen.in_hand, seen.reached) = (0, false);
            (seen.store_fault, seen.stall, seen.silent_since) = (None, None, None);
        });
    }
}
