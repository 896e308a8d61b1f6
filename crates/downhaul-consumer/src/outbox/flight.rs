//! [`Flight`]: the rows that a relay has in hand.
//!
//! Rows of a key from one claim are a chain: one of them is under way, the others wait for it. A
//! key has one chain, since a store gives nobody the later rows of a key that is claimed.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use downhaul_context::Context;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use crate::error::PublishError;
use crate::outbox::Row;
use crate::publisher::Publisher;

pub(super) struct Flight {
    ctx: Context,
    publisher: Publisher,
    /// How long publishing one row may take.
    budget: Duration,
    under_way: FuturesUnordered<BoxFuture<'static, Landed>>,
    in_hand: usize,
}

/// A row that is to be published next, and those of its key that follow it.
pub(super) struct Chain {
    row: Row,
    rest: VecDeque<Row>,
    /// Later none of them is begun.
    begin_by: Instant,
}

/// A row of which the broker has said something, or nothing in time.
pub(super) struct Landed {
    pub(super) row: Row,
    pub(super) said: Result<(), PublishError>,
    pub(super) begun: Instant,
    rest: VecDeque<Row>,
    begin_by: Instant,
}

impl Flight {
    pub(super) fn new(ctx: Context, publisher: Publisher, budget: Duration) -> Self {
        Self { ctx, publisher, budget, under_way: FuturesUnordered::new(), in_hand: 0 }
    }

    /// How many rows are under way or wait for one that is.
    pub(super) fn len(&self) -> usize {
        self.in_hand
    }

    pub(super) fn launch_all(&mut self, rows: Vec<Row>, begin_by: Instant) {
        self.in_hand += rows.len();
        chains(rows, begin_by).into_iter().for_each(|chain| self.launch(chain));
    }

    /// Waits for the next row to land; `None` when there is none. May be dropped.
    pub(super) async fn next(&mut self) -> Option<Landed> {
        let landed = self.under_way.next().await?;
        self.in_hand -= 1;
        Some(landed)
    }

    /// Goes on with what was waiting for a row that has landed, or hands it out if it cannot.
    pub(super) fn follow_up(&mut self, landed: Landed) -> VecDeque<Row> {
        let Landed { said, mut rest, begin_by, .. } = landed;
        let goes_on = said.is_ok() && !self.ctx.is_done() && Instant::now() < begin_by;
        let next = if goes_on { rest.pop_front() } else { None };
        if let Some(row) = next {
            self.launch(Chain { row, rest: std::mem::take(&mut rest), begin_by });
        }
        self.in_hand -= rest.len();
        rest
    }

    fn launch(&mut self, chain: Chain) {
        // A time of its own, since one that is cut short might be published twice. It begins now,
        // and not when the future is polled first, so that it is over before the lease is.
        let begun = Instant::now();
        let (ctx, canceller) = self.ctx.with_timeout(self.budget);
        let publisher = self.publisher.clone();
        self.under_way.push(Box::pin(async move {
            let _canceller = canceller;
            let Chain { row, rest, begin_by } = chain;
            let said = publisher.publish(&ctx, row.outgoing.clone()).await;
            Landed { row, said, begun, rest, begin_by }
        }));
    }
}

fn chains(rows: Vec<Row>, begin_by: Instant) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::with_capacity(rows.len());
    let mut of_key: HashMap<String, usize> = HashMap::new();
    for row in rows {
        let known = row.key.as_ref().and_then(|key| of_key.get(key));
        if let Some(chain) = known.and_then(|&index| chains.get_mut(index)) {
            chain.rest.push_back(row);
            continue;
        }
        if let Some(key) = &row.key {
            of_key.insert(key.clone(), chains.len());
        }
        chains.push(Chain { row, rest: VecDeque::new(), begin_by });
    }
    chains
}
